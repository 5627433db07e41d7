//! Which kernels, and how they come here: from Debian's archive, unpacked into `target/vm/kernels`.

use super::mirror::Mirror;
use crate::{
    apt,
    shell::{run, say, which},
};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub struct Kernel {
    pub name: &'static str,
    /// Suites that hold it, oldest support first.
    suites: &'static [&'static str],
    /// What the names of its packages begin with, up to the version. The first one holds the kernel itself.
    packages: &'static [&'static str],
}

pub const KERNELS: &[Kernel] = &[
    Kernel { name: "5.10", suites: &["bullseye", "bullseye-security"], packages: &["linux-image-"] },
    Kernel { name: "6.1", suites: &["bookworm", "bookworm-security"], packages: &["linux-image-"] },
    Kernel {
        name: "6.12",
        suites: &["bookworm-backports", "bookworm-security"],
        packages: &["linux-image-"],
    },
    Kernel {
        name: "7.3",
        suites: &["trixie-backports"],
        packages: &["linux-binary-", "linux-modules-", "linux-base-"],
    },
];

/// A kernel on disk, ready to boot.
pub struct Installed {
    pub version: String,
    pub image: PathBuf,
}

/// For the command line.
pub fn choice(text: &str) -> Result<String, String> {
    let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
    if text == "all" || known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("one of: {}, all", known.join(", ")))
}

impl Kernel {
    pub fn obtain(&self, folder: &Path) -> Result<Installed> {
        let unpacked = folder.join("kernels").join(self.name);
        if let Some(installed) = find(&unpacked) {
            return Ok(installed);
        }
        say(format!(
            "fetching kernel {} from this machine's Debian archive into target/vm (once)",
            self.name
        ));
        let fresh = folder.join("kernels").join(format!("{}.part", self.name));
        self.download(folder, &fresh)?;
        let version = find(&fresh).context("the packages hold no kernel")?.version;
        // The machine takes its modules from beside the kernel: nothing goes to the host's /lib/modules.
        run(Command::new(which("depmod").context("depmod is missing")?).arg("-b").arg(&fresh).arg(version))?;
        fs::rename(&fresh, &unpacked)?;
        find(&unpacked).context("the kernel is gone")
    }

    fn download(&self, folder: &Path, into: &Path) -> Result<()> {
        let mirror = Mirror::of_this_machine()?;
        let sources: Vec<_> = self.suites.iter().map(|suite| mirror.source(suite)).collect();
        let apt_folder = folder.join("apt").join(self.name);
        let apt = apt::Private::new(&apt_folder, &sources)?;
        apt.update();
        let first = self.packages.first().context("a kernel is made of packages")?;
        let names = apt.names(&format!("{first}{}.", self.name))?;
        let version = names
            .iter()
            .filter_map(|name| name.strip_prefix(first))
            .filter(|version| is_ordinary(version))
            .max_by_key(|version| order(version));
        let Some(version) = version else {
            bail!("no {first}{}.… in {}", self.name, self.suites.join(", "))
        };
        let packages: Vec<_> = self.packages.iter().map(|package| format!("{package}{version}")).collect();
        apt.unpack(&packages, &apt_folder.join("download"), into)?;
        fs::remove_dir_all(&apt_folder)?;
        usual_places(into)
    }
}

/// The flavour for ordinary machines: no real-time, cloud or debug kernels.
fn is_ordinary(version: &str) -> bool {
    let flavour = version.strip_suffix("-amd64").and_then(|rest| rest.rsplit('-').next());
    flavour.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Compares versions by their numbers: 6.12.9 is older than 6.12.10.
fn order(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// New packages keep everything in /usr/lib/modules/VERSION; old ones use /boot and /lib/modules.
fn usual_places(unpacked: &Path) -> Result<()> {
    let merged = unpacked.join("usr/lib/modules");
    if merged.is_dir() && !unpacked.join("lib").exists() {
        fs::create_dir(unpacked.join("lib"))?;
        fs::rename(merged, unpacked.join("lib/modules"))?;
    }
    Ok(())
}

fn find(unpacked: &Path) -> Option<Installed> {
    let modules = fs::read_dir(unpacked.join("lib/modules")).ok()?.next()?.ok()?;
    let version = modules.file_name().to_str()?.to_owned();
    let images = [unpacked.join("boot").join(format!("vmlinuz-{version}")), modules.path().join("vmlinuz")];
    let image = images.into_iter().find(|image| image.is_file())?;
    Some(Installed { version, image })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ordinary_kernel_wins() {
        let names = [
            "6.12.9+deb12-amd64",
            "6.12.101+deb12-amd64",
            "6.12.117+deb12-cloud-amd64",
            "6.12.118+deb12-rt-amd64",
            "6.12.119+deb12-amd64-dbg",
            "6.12.120+deb12-amd64-unsigned",
        ];
        let best = names.into_iter().filter(|name| is_ordinary(name)).max_by_key(|name| order(name));
        assert_eq!(best, Some("6.12.101+deb12-amd64"));
        assert!(is_ordinary("5.10.0-46-amd64") && !is_ordinary("5.10.0-46-rt-amd64"));
    }
}
