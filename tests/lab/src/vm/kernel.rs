//! The guests' kernel: Debian's, unpacked by `scripts/guest-kernel.sh`, and its modules.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::failure::Failure;

/// An unpacked kernel package.
#[derive(Debug, Clone)]
pub struct Kernel {
    image: PathBuf,
    /// Paths of the modules by name, with `_` for every `-`.
    modules: HashMap<String, PathBuf>,
}

impl Kernel {
    /// Looks below `FENCE_GUEST_KERNEL`, or in the build directory where the script puts it.
    ///
    /// # Errors
    /// It has not been fetched.
    pub fn locate() -> Result<Self, Failure> {
        let root = env::var_os("FENCE_GUEST_KERNEL")
            .map_or_else(|| PathBuf::from("target/guests/kernel"), PathBuf::from);
        let root = std::path::absolute(root)?;
        let missing = |_| {
            Failure::new(format!(
                "there is no guest kernel in {}: run scripts/guest-kernel.sh",
                root.display()
            ))
        };
        let entries = fs::read_dir(root.join("boot")).map_err(missing)?;
        let image = entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| file_name(path).starts_with("vmlinuz-"))
            .ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
        let mut modules = HashMap::new();
        collect(&root.join("lib/modules"), &mut modules)?;
        Ok(Self { image, modules })
    }

    /// The kernel that QEMU boots.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// The files of modules and of all they depend on, in the order in which they are to be loaded.
    ///
    /// # Errors
    /// There is no such module: mostly because it is built in.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>, Failure> {
        let mut order = Vec::new();
        for name in names {
            self.add(name, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let path = self
            .modules
            .get(&name.replace('-', "_"))
            .ok_or_else(|| Failure::new(format!("the guest kernel has no module {name}")))?;
        if order.contains(path) {
            return Ok(());
        }
        for needed in dependencies(&fs::read(path)?) {
            self.add(&needed, order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn collect(directory: &Path, modules: &mut HashMap<String, PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, modules)?;
        } else if let Some(name) = file_name(&path).strip_suffix(".ko") {
            modules.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// The `depends=` string of a module's `.modinfo`, which is all that `modprobe` goes by too. The
/// package has no `modules.dep`: that is made when it is installed.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let text = module.get(at + KEY.len()..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_modules_own_information() {
        let module = b"\x7fELF..\0alias=x\0depends=virtio,virtio_ring\0name=virtio_net\0";
        assert_eq!(dependencies(module), ["virtio", "virtio_ring"]);
        assert_eq!(dependencies(b"\0depends=\0name=virtio\0"), [""; 0]);
    }
}
