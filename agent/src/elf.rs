//! Finds functions by name in programs and libraries.
//!
//! The files are not ours: they may be truncated while we read, or be made to hurt. So they are read with
//! `pread` (a mapping of a truncated file raises SIGBUS), and no size in a header leads to an allocation: string and symbol tables are
//! walked in pieces of fixed size.
//!
//! Most files have none of the names, and the string table alone says so: it is searched first, and the symbol
//! table is only walked for the offsets where a name was found.

use memchr::memmem::Finder;
use object::LittleEndian as LE;
use object::elf::{
    EM_X86_64, FileHeader64, PF_X, PT_LOAD, ProgramHeader64, SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC,
    SectionHeader64, Sym64,
};
use object::pod::{self, Pod};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How much of a table is in memory at a time.
const PIECE: usize = 256 * 1024;
/// A table larger than this is not looked at; the largest browsers stay well below.
const MAX_TABLE: u64 = 512 << 20;
/// How often the names may occur in one string table.
const MAX_HITS: usize = 4096;
/// Program headers are few; more than this is no program.
const MAX_SEGMENTS: u16 = 1024;
/// How many places a name may be found in one file: symbol versions, statics of the same name.
const MAX_FOUND: usize = 64;
/// How much of a function is read: enough to see every branch of real ones back into their first instructions.
const MAX_CODE: u64 = 16 * 1024;
/// Read of a function whose symbol says no size.
const UNSIZED_CODE: u64 = 256;

#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    #[error("not an ELF file")]
    NotElf,
    #[error("not for 64-bit x86")]
    Foreign,
    #[error("truncated")]
    Truncated,
    #[error("its tables are too large")]
    TooLarge,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A function found in a file.
#[derive(Clone, Debug)]
pub struct Function {
    pub symbol: &'static str,
    /// Where it is mapped, but for where the file begins.
    pub address: u64,
    /// Of its first byte.
    pub file_offset: u64,
    /// Its first bytes.
    pub code: Vec<u8>,
}

/// Looks for a fixed set of names.
pub struct FunctionFinder {
    symbols: Vec<&'static str>,
    /// What the names begin with, as few as possible: `SSL_write` stands for `SSL_write_ex` too.
    stems: Vec<Finder<'static>>,
    longest: usize,
}

impl FunctionFinder {
    pub fn new(symbols: impl IntoIterator<Item = &'static str>) -> Self {
        let symbols: Vec<_> = symbols.into_iter().collect();
        let is_stem = |name: &&&str| !symbols.iter().any(|s| s != *name && name.starts_with(s));
        let stems = symbols.iter().filter(is_stem).map(|stem| Finder::new(*stem)).collect();
        let longest = symbols.iter().map(|symbol| symbol.len()).max().unwrap_or(0);
        Self { symbols, stems, longest }
    }

    /// The functions of these names that the file defines. The exported ones, or when it exports none, those
    /// its full symbol table knows.
    pub fn find(&self, file: &File) -> Result<Vec<Function>, ElfError> {
        let elf = Elf::open(file)?;
        for kind in [SHT_DYNSYM, SHT_SYMTAB] {
            let found = self.find_in_table(&elf, kind)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    fn find_in_table(&self, elf: &Elf<'_>, kind: u32) -> Result<Vec<Function>, ElfError> {
        let Some(table) = elf.sections.iter().find(|section| section.sh_type.get(LE) == kind) else {
            return Ok(Vec::new());
        };
        let strings = elf.sections.get(table.sh_link.get(LE) as usize).ok_or(ElfError::Truncated)?;
        let wanted = self.name_offsets(elf, strings)?;
        let mut found = Vec::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let size = size_of::<Sym64<LE>>();
        elf.pieces(table, PIECE - PIECE % size, 0, |_, bytes| {
            let count = bytes.len() / size;
            let (symbols, _) =
                pod::slice_from_bytes::<Sym64<LE>>(bytes, count).map_err(|()| ElfError::Truncated)?;
            for symbol in symbols.iter().filter(|s| defines_function(s)) {
                let name = u64::from(symbol.st_name.get(LE));
                let Ok(at) = wanted.binary_search_by_key(&name, |(offset, _)| *offset) else { continue };
                let function = wanted.get(at).and_then(|(_, name)| elf.function(name, symbol));
                if found.len() < MAX_FOUND {
                    found.extend(function);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Where the names stand in the string table, in order. A linker may let a name be the tail of a longer
    /// one, so whatever stands before does not matter.
    fn name_offsets(
        &self,
        elf: &Elf<'_>,
        strings: &SectionHeader64<LE>,
    ) -> Result<Vec<(u64, &'static str)>, ElfError> {
        let mut offsets = Vec::new();
        // A name may be cut by the end of a piece before its closing NUL; then the next piece has it whole.
        elf.pieces(strings, PIECE, self.longest, |start, bytes| {
            for at in self.stems.iter().flat_map(|stem| stem.find_iter(bytes)) {
                let rest = bytes.get(at..).unwrap_or_default();
                let whole = rest.iter().take(self.longest + 1).position(|byte| *byte == 0);
                let found = whole.and_then(|len| rest.get(..len));
                let name = self.symbols.iter().find(|symbol| found == Some(symbol.as_bytes()));
                offsets.extend(name.map(|name| (start.saturating_add(at as u64), *name)));
            }
            if offsets.len() > MAX_HITS { Err(ElfError::TooLarge) } else { Ok(()) }
        })?;
        // Pieces overlap: a short name may have been met twice.
        offsets.sort_unstable();
        offsets.dedup();
        Ok(offsets)
    }
}

/// Whether the file has a section of one of these names.
pub fn has_section(file: &File, names: &[&[u8]]) -> Result<bool, ElfError> {
    /// Of the table of section names.
    const MAX_NAMES: u64 = 1 << 20;
    let elf = Elf::open(file)?;
    let Some(table) = elf.sections.get(usize::from(elf.section_names)) else { return Ok(false) };
    let mut strings = vec![0; table.sh_size.get(LE).min(MAX_NAMES) as usize];
    read_exact(file, &mut strings, table.sh_offset.get(LE))?;
    Ok(elf.sections.iter().any(|section| {
        let name = strings.get(section.sh_name.get(LE) as usize..).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        names.contains(&name)
    }))
}

fn defines_function(symbol: &Sym64<LE>) -> bool {
    symbol.st_shndx.get(LE) != SHN_UNDEF && symbol.st_info & 0xf == STT_FUNC
}

struct Elf<'a> {
    file: &'a File,
    segments: Vec<ProgramHeader64<LE>>,
    sections: Vec<SectionHeader64<LE>>,
    /// Which section holds the names of the sections.
    section_names: u16,
}

impl<'a> Elf<'a> {
    fn open(file: &'a File) -> Result<Self, ElfError> {
        let mut bytes = [0; size_of::<FileHeader64<LE>>()];
        file.read_exact_at(&mut bytes, 0).map_err(|_| ElfError::NotElf)?;
        let (header, _) = pod::from_bytes::<FileHeader64<LE>>(&bytes).map_err(|()| ElfError::Truncated)?;
        let ident = &header.e_ident;
        if ident.magic != object::elf::ELFMAG {
            return Err(ElfError::NotElf);
        }
        let ours = ident.class == object::elf::ELFCLASS64 && ident.data == object::elf::ELFDATA2LSB;
        if !ours || header.e_machine.get(LE) != EM_X86_64 {
            return Err(ElfError::Foreign);
        }
        if header.e_phnum.get(LE) > MAX_SEGMENTS {
            return Err(ElfError::TooLarge);
        }
        // Both counts are 16 bits wide: a few megabytes at most.
        let segments = table(file, header.e_phoff.get(LE), header.e_phnum.get(LE))?;
        let sections = table(file, header.e_shoff.get(LE), header.e_shnum.get(LE))?;
        Ok(Self { file, segments, sections, section_names: header.e_shstrndx.get(LE) })
    }

    /// Hands the bytes of a section to `each`, piece by piece, with the offset in the section. Each piece
    /// after the first begins with the last `overlap` bytes of the one before.
    fn pieces(
        &self,
        section: &SectionHeader64<LE>,
        piece: usize,
        overlap: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), ElfError>,
    ) -> Result<(), ElfError> {
        let (start, size) = (section.sh_offset.get(LE), section.sh_size.get(LE));
        if size > MAX_TABLE {
            return Err(ElfError::TooLarge);
        }
        let mut buffer = vec![0; piece.min(size as usize)];
        let mut at = 0;
        while at < size {
            let len = (size - at).min(piece as u64) as usize;
            let bytes = buffer.get_mut(..len).ok_or(ElfError::Truncated)?;
            let position = start.checked_add(at).ok_or(ElfError::Truncated)?;
            read_exact(self.file, bytes, position)?;
            each(at, bytes)?;
            if at + len as u64 >= size {
                break;
            }
            at += len.saturating_sub(overlap).max(1) as u64;
        }
        Ok(())
    }

    /// None when no executable segment of the file holds the symbol's address.
    fn function(&self, name: &'static str, symbol: &Sym64<LE>) -> Option<Function> {
        let address = symbol.st_value.get(LE);
        let (file_offset, room) = self.segments.iter().find_map(|segment| {
            let code = segment.p_type.get(LE) == PT_LOAD && segment.p_flags.get(LE) & PF_X != 0;
            let inside = address.checked_sub(segment.p_vaddr.get(LE)).filter(|_| code)?;
            let room = segment.p_filesz.get(LE).checked_sub(inside).filter(|room| *room > 0)?;
            Some((segment.p_offset.get(LE).checked_add(inside)?, room))
        })?;
        let size = match symbol.st_size.get(LE) {
            0 => UNSIZED_CODE,
            size => size.min(MAX_CODE),
        };
        let mut code = vec![0; size.min(room) as usize];
        self.file.read_exact_at(&mut code, file_offset).ok()?;
        Some(Function { symbol: name, address, file_offset, code })
    }
}

fn table<T: Pod>(file: &File, offset: u64, count: u16) -> Result<Vec<T>, ElfError> {
    let mut bytes = vec![0; usize::from(count) * size_of::<T>()];
    read_exact(file, &mut bytes, offset)?;
    let (items, _) = pod::slice_from_bytes::<T>(&bytes, count.into()).map_err(|()| ElfError::Truncated)?;
    Ok(items.to_vec())
}

fn read_exact(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), ElfError> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidInput => ElfError::Truncated,
        _ => ElfError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{self, Emulation, Kind};
    use crate::probes::tls;
    use std::io::Write;
    use std::path::Path;

    fn finder() -> FunctionFinder {
        FunctionFinder::new(tls::specs().map(|spec| spec.symbol))
    }

    fn find(path: &str) -> Option<Vec<Function>> {
        Path::new(path).exists().then(|| finder().find(&File::open(path).unwrap()).unwrap())
    }

    /// What `nm` and a disassembler say of the libraries the design was measured with.
    #[test]
    fn libraries_of_this_machine() {
        for (path, symbol) in [
            ("/usr/lib/x86_64-linux-gnu/libssl.so.3", "SSL_write"),
            ("/usr/lib/x86_64-linux-gnu/libssl.so.3", "SSL_write_ex"),
            ("/usr/lib/x86_64-linux-gnu/libgnutls.so.30", "gnutls_record_send"),
            ("/usr/bin/node", "SSL_write"),
        ] {
            let Some(functions) = find(path) else { continue };
            let function = functions.iter().find(|f| f.symbol == symbol).unwrap();
            let placement = placement::place(function, Emulation { calls: true });
            println!("{path} {symbol}: {placement:?}");
            assert!(matches!(placement.kind, Kind::Emulated(_)), "{placement:?}");
        }
    }

    #[test]
    fn programs_without_tls_of_their_own() {
        for path in ["/bin/sh", "/usr/bin/curl", "/usr/lib/x86_64-linux-gnu/libc.so.6"] {
            assert!(find(path).is_none_or(|found| found.is_empty()), "{path}");
        }
    }

    /// A static program knows its functions in its full symbol table only.
    #[test]
    fn a_function_that_is_not_exported() {
        let dir = tempfile::tempdir().unwrap();
        let (source, program) = (dir.path().join("p.c"), dir.path().join("p"));
        std::fs::write(
            &source,
            "int my_SSL_write_ex(int a) { return a; }\n\
             __attribute__((noinline)) int SSL_write(void *s, void *b, int n) { return n ? *(int *)b : 0; }\n\
             extern int SSL_write_ex2(void) __attribute__((weak));\n\
             int main(void) { return SSL_write(0, 0, 0) + (SSL_write_ex2 != 0); }\n",
        )
        .unwrap();
        let built = std::process::Command::new("cc").args(["-O1", "-o"]).args([&program, &source]).status();
        if !built.is_ok_and(|status| status.success()) {
            return;
        }
        let found = finder().find(&File::open(&program).unwrap()).unwrap();
        assert_eq!(found.iter().map(|f| f.symbol).collect::<Vec<_>>(), ["SSL_write"]);
        assert!(!found[0].code.is_empty());
        let stripped = std::process::Command::new("strip").arg(&program).status().unwrap();
        assert!(stripped.success());
        assert!(finder().find(&File::open(&program).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn pieces_hide_no_name() {
        // A table far longer than a piece; the names stand across every border in turn.
        let elf_of = |strings: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(strings).unwrap();
            file
        };
        for shift in 0..24 {
            let mut strings = vec![b'x'; 3 * PIECE];
            let at = PIECE - shift;
            strings[at..at + 13].copy_from_slice(b"SSL_write_ex\0");
            let file = elf_of(&strings);
            let elf = Elf { file: &file, segments: vec![], sections: vec![], section_names: 0 };
            let mut section = [0; size_of::<SectionHeader64<LE>>()];
            section[0x20..0x28].copy_from_slice(&(strings.len() as u64).to_le_bytes());
            let (section, _) = pod::from_bytes::<SectionHeader64<LE>>(&section).unwrap();
            assert_eq!(finder().name_offsets(&elf, section).unwrap(), [(at as u64, "SSL_write_ex")]);
        }
    }

    fn judged(bytes: &[u8]) -> Result<Vec<Function>, ElfError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        has_section(&file, &[b".text"]).ok();
        finder().find(&file)
    }

    #[test]
    fn rubbish_is_refused() {
        let libssl = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
        assert!(matches!(judged(b""), Err(ElfError::NotElf)));
        assert!(matches!(judged(b"#!/bin/sh\n"), Err(ElfError::NotElf)));
        let Ok(mut bytes) = std::fs::read(libssl) else { return };
        for len in [64, 100, 1000, 100_000, bytes.len() - 1] {
            assert!(matches!(judged(&bytes[..len]), Err(ElfError::Truncated)), "{len}");
        }
        let mut other = bytes.clone();
        other[18] = 183; // aarch64
        assert!(matches!(judged(&other), Err(ElfError::Foreign)));
        other[4] = 1; // 32 bits
        assert!(matches!(judged(&other), Err(ElfError::Foreign)));
        // A string table that claims to be enormous.
        let sections = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap()) as usize;
        for n in 0..usize::from(bytes[0x3c]) {
            let size = sections + n * 64 + 0x20;
            bytes[size..size + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        }
        assert!(matches!(judged(&bytes), Err(ElfError::TooLarge)));
    }

    proptest::proptest! {
        /// Damaged headers lead to an error or to fewer functions, never to a panic.
        #[test]
        fn damage_is_survived(damage in proptest::collection::vec((0usize..64 + 700_000, 0u8..), 1..40)) {
            if let Ok(mut bytes) = std::fs::read("/usr/lib/x86_64-linux-gnu/libssl.so.3") {
                let tables = bytes.len().saturating_sub(4096);
                for (at, value) in damage {
                    let at = if at % 2 == 0 { at % 1024 } else { tables + at % 4096 };
                    if let Some(byte) = bytes.get_mut(at).filter(|_| at >= 20) {
                        *byte = value;
                    }
                }
                let _ = judged(&bytes);
            }
        }
    }
}
