//! Decides for each mapped file whether it holds a TLS library, puts the probes in, and remembers the answer.

use super::maps::{Inode, Mapping, OpenError, Opened};
use super::watch::{Change, Watch};
use super::{Attach, AttachError, AttachId, DiscoverError, Options, maps, overlay};
use crate::elf::{ElfError, Function, FunctionFinder};
use crate::enforce::detour;
use crate::health::{Cause, Counters};
use crate::placement::{self, Emulation, Placement};
use crate::probes::tls::{self, ProbeSpec, Role, TlsLibrary};
use keymoat_abi::enforce::Detour;
use rustix::fs::Stat;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Answers remembered; past this, those of files without TLS are forgotten and found again.
const MAX_KNOWN: usize = 32 * 1024;
/// A file without TLS is looked at again after this long, for it may have been overwritten in place.
const RECHECK: Duration = Duration::from_secs(30);

/// A file with TLS functions in it.
#[derive(Clone, Debug, Serialize)]
pub struct LibraryReport {
    /// In the mount namespace where it was first seen.
    pub path: String,
    /// Who mapped it first; none when it was found before anyone did.
    pub first_mapped_by: Option<u32>,
    pub device: u64,
    pub inode: u64,
    pub libraries: Vec<TlsLibrary>,
    pub functions: Vec<FunctionReport>,
}

/// A function and its probe.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionReport {
    pub symbol: &'static str,
    pub program: &'static str,
    pub role: Role,
    pub placement: Placement,
    /// Why there is no probe, when there is none.
    pub error: Option<String>,
}

pub(super) type Inventory = Arc<Mutex<BTreeMap<FileId, LibraryReport>>>;

pub(super) fn reports(inventory: &Inventory) -> Vec<LibraryReport> {
    inventory.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

/// A file as fstat names it; of the lowest layer, when it is an overlay's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// What a file holds, as far as probes go. A process is worth the best of the files it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    NoTls,
    /// TLS functions, and not one probe could be attached.
    Broken(FileId),
    Probed,
}

/// Changes when the content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: i64,
    modified: (i64, u64),
}

/// The name a mapping gives a file. The path is part of it since generations are missing on some file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    inode: Inode,
    path: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    generation: Option<u64>,
    stamp: Option<Stamp>,
    verdict: Verdict,
    /// The file with probes; such files are watched and need no second look.
    file: Option<FileId>,
    checked: Instant,
}

/// A file with TLS functions, kept open to learn of its deletion.
struct Library {
    file: File,
    /// None while it is being rewritten.
    stamp: Option<Stamp>,
    verdict: Verdict,
    probes: Vec<AttachId>,
    deleted: bool,
}

pub(super) struct Libraries {
    finder: FunctionFinder,
    emulation: Emulation,
    attach: Box<dyn Attach>,
    watch: Watch,
    counters: Counters,
    max_files: usize,
    detours: bool,
    known: HashMap<Key, Known>,
    files: HashMap<FileId, Library>,
    inventory: Inventory,
}

impl Libraries {
    pub(super) fn new(
        attach: Box<dyn Attach>,
        counters: Counters,
        options: &Options,
    ) -> Result<Self, DiscoverError> {
        Ok(Self {
            finder: FunctionFinder::new(tls::symbols()),
            emulation: Emulation::of_this_machine(),
            attach,
            watch: Watch::new()?,
            counters,
            max_files: options.max_files,
            detours: options.detours,
            known: HashMap::new(),
            files: HashMap::new(),
            inventory: Inventory::default(),
        })
    }

    /// Finds and places, and leaves the files alone.
    pub(super) fn without_attaching(counters: Counters) -> Result<Self, DiscoverError> {
        struct Nothing;
        impl Attach for Nothing {
            fn attach(
                &mut self,
                _: &File,
                _: &'static str,
                _: u64,
                _: Option<u64>,
            ) -> Result<AttachId, AttachError> {
                Ok(AttachId(0))
            }
            fn detach(&mut self, _: AttachId) {}
        }
        Self::new(Box::new(Nothing), counters, &Options::default())
    }

    pub(super) fn inventory(&self) -> Inventory {
        Arc::clone(&self.inventory)
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What a mapped file holds; attaches to it when it is new. A known file costs one look-up.
    pub(super) fn mapped(&mut self, mapping: &Mapping, now: Instant) -> Verdict {
        let key = self.key(mapping);
        if let Some(known) = self.known.get(&key) {
            let same = mapping.generation.is_none() || mapping.generation == known.generation;
            let fresh = known.file.is_some() || now.saturating_duration_since(known.checked) < RECHECK;
            if same && fresh {
                return known.verdict;
            }
        }
        self.learn(key, mapping, now)
    }

    /// The same without trusting what is remembered of files without TLS.
    pub(super) fn mapped_now(&mut self, mapping: &Mapping, now: Instant) -> Verdict {
        let key = self.key(mapping);
        match self.known.get(&key) {
            Some(Known { file: Some(_), verdict, .. }) => *verdict,
            _ => self.learn(key, mapping, now),
        }
    }

    /// A file that nobody need have mapped yet.
    pub(super) fn found(&mut self, path: &Path, opened: Opened) {
        self.examine(opened, path, None);
    }

    /// Why a file has no probes.
    pub(super) fn failure(&self, id: FileId) -> String {
        let inventory = self.inventory.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = inventory
            .get(&id)
            .and_then(|report| Some((&report.path, report.functions.iter().find_map(|f| f.error.as_ref())?)));
        match failed {
            Some((path, error)) => format!("the TLS library in {path} could not be probed: {error}"),
            None => "its TLS library could not be probed: too many different ones are in use".to_owned(),
        }
    }

    fn key(&self, mapping: &Mapping) -> Key {
        Key { inode: mapping.inode, path: self.known.hasher().hash_one(&mapping.path) }
    }

    fn learn(&mut self, key: Key, mapping: &Mapping, now: Instant) -> Verdict {
        let generation = mapping.generation;
        let opened = match mapping.open() {
            Ok(opened) => opened,
            Err(error) => {
                let gone = matches!(error, OpenError::ProcessGone);
                self.counters.add(if gone { Cause::LibraryGone } else { Cause::LibraryUnreadable }, 1);
                tracing::debug!(path = %mapping.path.display(), pid = mapping.pid, %error, "not looked at");
                if !gone {
                    let known =
                        Known { generation, stamp: None, verdict: Verdict::NoTls, file: None, checked: now };
                    self.remember(key, known);
                }
                return Verdict::NoTls;
            }
        };
        let stamp = Some(Stamp::of(&opened.stat));
        let unchanged = self
            .known
            .get(&key)
            .filter(|known| known.file.is_none() && known.stamp == stamp && known.generation == generation);
        let (verdict, file) = match unchanged {
            Some(known) => (known.verdict, None),
            None => {
                let real = overlay::beneath(&opened, mapping.pid, &mapping.path).unwrap_or(opened);
                self.examine(real, &mapping.path, Some(mapping.pid))
            }
        };
        self.remember(key, Known { generation, stamp, verdict, file, checked: now });
        verdict
    }

    fn remember(&mut self, key: Key, known: Known) {
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, known| known.file.is_some());
        }
        self.known.insert(key, known);
    }

    fn examine(&mut self, opened: Opened, path: &Path, pid: Option<u32>) -> (Verdict, Option<FileId>) {
        let id = FileId::of(&opened.stat);
        let stamp = Stamp::of(&opened.stat);
        if let Some(library) = self.files.get(&id) {
            if library.stamp == Some(stamp) {
                return (library.verdict, Some(id));
            }
            self.forget(id);
        }
        let functions = match self.finder.find(&opened.file) {
            Ok(functions) => functions,
            Err(ElfError::NotElf) => return (Verdict::NoTls, None),
            Err(error) => {
                self.counters.add(Cause::LibraryUnreadable, 1);
                tracing::debug!(path = %path.display(), %error, "not looked at");
                return (Verdict::NoTls, None);
            }
        };
        if !functions.iter().any(|function| tls::specs().any(|spec| spec.symbol == function.symbol)) {
            return (Verdict::NoTls, None);
        }
        if self.files.len() >= self.max_files {
            self.counters.add(Cause::AttachFailed, 1);
            return (Verdict::Broken(id), None);
        }
        (self.probe(id, opened, functions, path, pid), Some(id))
    }

    fn probe(
        &mut self,
        id: FileId,
        opened: Opened,
        functions: Vec<Function>,
        path: &Path,
        pid: Option<u32>,
    ) -> Verdict {
        let Opened { file, stat } = opened;
        // A file may be rewritten while it is read. Once it is watched that cannot be missed; so what was
        // found before counts only when the file is still the same now.
        self.watch.add(&file, id);
        let stamp = Stamp::of(&stat);
        let functions = match rustix::fs::fstat(&file) {
            Ok(now) if Stamp::of(&now) == stamp => functions,
            _ => Vec::new(),
        };
        let (reports, probes) = self.attach_all(&file, &functions);
        let verdict = if probes.is_empty() { Verdict::Broken(id) } else { Verdict::Probed };
        let mut libraries: Vec<_> = reports.iter().map(|(spec, _)| spec.library).collect();
        libraries.sort_unstable();
        libraries.dedup();
        let report = LibraryReport {
            path: path.to_string_lossy().into_owned(),
            first_mapped_by: pid,
            device: id.device,
            inode: id.inode,
            libraries,
            functions: reports.into_iter().map(|(_, report)| report).collect(),
        };
        tracing::debug!(path = report.path, ?verdict, probes = probes.len(), "a TLS library");
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner).insert(id, report);
        let stamp = (!functions.is_empty()).then_some(stamp);
        self.files.insert(id, Library { file, stamp, verdict, probes, deleted: false });
        verdict
    }

    fn attach_all(
        &mut self,
        file: &File,
        functions: &[Function],
    ) -> (Vec<(&'static ProbeSpec, FunctionReport)>, Vec<AttachId>) {
        let mut reports = Vec::new();
        let mut probes = Vec::new();
        let mut taken = HashSet::new();
        for spec in tls::specs() {
            // Two names for one address are one function, and a probe for each would fire twice.
            for function in functions.iter().filter(|function| function.symbol == spec.symbol) {
                if !taken.insert(function.file_offset) {
                    continue;
                }
                let (placement, attached) = self.attach_one(file, spec, function, functions);
                let error = attached.map(|probe| probes.push(probe)).err();
                if let Some(error) = &error {
                    self.counters.add(Cause::AttachFailed, 1);
                    tracing::warn!(symbol = spec.symbol, %error, "a probe could not be attached");
                }
                let (ProbeSpec { symbol, program, role, .. }, error) = (spec, error.map(|e| e.to_string()));
                let report = FunctionReport { symbol, program, role: *role, placement, error };
                reports.push((spec, report));
            }
        }
        (reports, probes)
    }

    /// At the best place, and where the kernel refuses that one, at the entry.
    fn attach_one(
        &mut self,
        file: &File,
        spec: &ProbeSpec,
        function: &Function,
        functions: &[Function],
    ) -> (Placement, Result<AttachId, AttachError>) {
        let fails_as = functions.iter().find(|other| self.detours && Some(other.symbol) == spec.fails_as);
        let detoured = |placement| match fails_as {
            Some(fails_as) => detour::plan(function, placement, fails_as),
            None => (placement, None),
        };
        let (best, way_out) = detoured(placement::place(function, self.emulation));
        if self.detours && spec.role == Role::Write && way_out.is_none() {
            tracing::info!(symbol = spec.symbol, "its calls cannot be made to fail: sockets refuse instead");
        }
        let attached = self.attach.attach(file, spec.program, best.file_offset, way_out.map(Detour::cookie));
        match attached {
            Err(refusal) if best.offset_in_function != 0 => {
                let reason = format!("refused at +{:#x}: {refusal}", best.offset_in_function);
                let (entry, way_out) = detoured(detour::entry(function, reason));
                let cookie = way_out.map(Detour::cookie);
                let attached = self.attach.attach(file, spec.program, entry.file_offset, cookie);
                (entry, attached)
            }
            attached => (best, attached),
        }
    }

    /// Acts on what happened to the files with probes.
    pub(super) fn catch_up(&mut self) {
        for (id, change) in self.watch.changes() {
            match change {
                Change::Written => self.take_out(id),
                Change::Closed => self.put_back(id),
                Change::Links => {
                    if let Some(library) = self.files.get_mut(&id) {
                        library.deleted = rustix::fs::fstat(&library.file).is_ok_and(|s| s.st_nlink == 0);
                    }
                }
            }
        }
    }

    /// Rewritten in place: a breakpoint at the old offsets would hit the middle of whatever is there now.
    fn take_out(&mut self, id: FileId) {
        if let Some(library) = self.files.get_mut(&id)
            && library.stamp.take().is_some()
        {
            for probe in library.probes.drain(..) {
                self.attach.detach(probe);
            }
            self.known.retain(|_, known| known.file != Some(id));
            tracing::info!(
                inode = id.inode,
                "a probed library is being rewritten: its probes were taken out"
            );
        }
    }

    /// The writer is done: look at the file anew.
    fn put_back(&mut self, id: FileId) {
        let Some(library) = self.files.get(&id).filter(|library| library.stamp.is_none()) else { return };
        let (Ok(file), Ok(stat)) = (library.file.try_clone(), rustix::fs::fstat(&library.file)) else {
            return self.forget(id);
        };
        let old = self.inventory.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let (path, pid) = old.map(|report| (report.path, report.first_mapped_by)).unwrap_or_default();
        self.examine(Opened { file, stat }, Path::new(&path), pid);
    }

    fn forget(&mut self, id: FileId) {
        if let Some(library) = self.files.remove(&id) {
            for probe in library.probes {
                self.attach.detach(probe);
            }
        }
        self.watch.remove(id);
        self.known.retain(|_, known| known.file != Some(id));
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Drops the probes of files that are deleted and mapped by nobody: a probe keeps its file on the disk.
    pub(super) fn sweep(&mut self) {
        if !self.files.values().any(|library| library.deleted) {
            return;
        }
        let mapped: HashSet<u64> = maps::pids()
            .into_iter()
            .flat_map(|pid| maps::mappings(pid).unwrap_or_default())
            .map(|mapping| mapping.inode.number)
            .collect();
        let unused: Vec<_> = self
            .files
            .iter()
            .filter(|(id, library)| library.deleted && !mapped.contains(&id.inode))
            .map(|(id, _)| *id)
            .collect();
        for id in unused {
            self.forget(id);
        }
    }
}

impl Drop for Libraries {
    fn drop(&mut self) {
        for probe in self.files.drain().flat_map(|(_, library)| library.probes) {
            self.attach.detach(probe);
        }
    }
}

impl FileId {
    fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self { size: stat.st_size, modified: (stat.st_mtime, stat.st_mtime_nsec) }
    }
}
