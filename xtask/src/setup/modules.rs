//! Kernel modules: which ones the lab carries, what each depends on (the module says so itself), and
//! the order in which they are inserted. It does not insert them; that is the lab's init script.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};

use crate::run;

/// Inserted at each boot, after what they depend on.
const INSERTED: [&str; 2] = ["vfio_iommu_spapr_tce", "vfio_pci"];
/// Only carried, for runs that ask for them and tests that insert them.
const CARRIED: [&str; 3] = ["kvm_hv", "nvme", "e1000e"];

/// Copies the lab's modules out of an extracted kernel, uncompressed.
pub(crate) fn collect(kernel: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut compressed = BTreeMap::new();
    for file in files(kernel)? {
        let name = run::file_name(&file);
        if let Some((stem, "ko" | "ko.xz")) = name.split_once('.') {
            compressed.insert(plain(stem), file);
        }
    }
    let mut found = BTreeSet::new();
    let mut wanted: Vec<String> = [INSERTED.as_slice(), CARRIED.as_slice()]
        .concat()
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    while let Some(name) = wanted.pop() {
        if !found.insert(name.clone()) {
            continue;
        }
        let file =
            compressed.get(&name).with_context(|| format!("the kernel has no module {name}"))?;
        let module = uncompressed(file)?;
        wanted.extend(depends(&module));
        fs::write(folder.join(format!("{name}.ko")), module)?;
    }
    Ok(())
}

/// The order in which VFIO's modules and these more are inserted, each after what it depends on.
pub(crate) fn order(folder: &Path, more: &[String]) -> Result<Vec<String>> {
    let mut needs = BTreeMap::new();
    for file in files(folder)? {
        if let Some(name) = run::file_name(&file).strip_suffix(".ko") {
            needs.insert(name.to_owned(), depends(&fs::read(&file)?));
        }
    }
    let mut order = Vec::new();
    let usual = INSERTED.iter().map(|name| (*name).to_owned());
    for name in usual.chain(more.iter().map(|name| plain(name))) {
        ensure!(needs.contains_key(&name), "the lab carries no module {name}");
        insert_after_needs(&name, &needs, &mut order);
    }
    Ok(order)
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn uncompressed(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|end| end == "ko") {
        return Ok(fs::read(file)?);
    }
    let mut module = Vec::new();
    lzma_rs::xz_decompress(&mut BufReader::new(File::open(file)?), &mut module)
        .map_err(|error| anyhow!("{}: {error:?}", file.display()))?;
    Ok(module)
}

/// What a module says it needs: the entry `depends=` of its section `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(start) = module.windows(key.len()).position(|bytes| bytes == key) else {
        return Vec::new();
    };
    let value: Vec<u8> =
        module.iter().skip(start + key.len()).take_while(|byte| **byte != 0).copied().collect();
    String::from_utf8_lossy(&value).split(',').filter(|name| !name.is_empty()).map(plain).collect()
}

fn insert_after_needs(name: &str, needs: &BTreeMap<String, Vec<String>>, order: &mut Vec<String>) {
    if order.iter().any(|inserted| inserted == name) {
        return;
    }
    for need in needs.get(name).into_iter().flatten() {
        insert_after_needs(need, needs, order);
    }
    order.push(name.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_tells_what_it_depends_on() {
        let module = b"\x7fELF...\0license=GPL\0depends=vfio-pci-core,vfio\0name=vfio_pci\0";
        assert_eq!(depends(module), ["vfio_pci_core", "vfio"]);
        assert!(depends(b"\0depends=\0").is_empty());
        assert!(depends(b"no information").is_empty());
    }

    #[test]
    fn modules_are_inserted_after_what_they_need() {
        let needs = BTreeMap::from([
            ("pci".to_owned(), vec!["core".to_owned(), "vfio".to_owned()]),
            ("core".to_owned(), vec!["vfio".to_owned()]),
        ]);
        let mut order = Vec::new();
        insert_after_needs("pci", &needs, &mut order);
        assert_eq!(order, ["vfio", "core", "pci"]);
    }

    #[test]
    fn modules_that_a_run_asks_for_come_after_those_of_vfio() {
        let folder = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let modules = ["vfio_iommu_spapr_tce", "vfio_pci", "kvm", "kvm_hv"];
        for name in modules {
            let needs = if name == "kvm_hv" { "kvm" } else { "" };
            fs::write(folder.join(format!("{name}.ko")), format!("\0depends={needs}\0")).unwrap();
        }
        assert_eq!(order(&folder, &["kvm-hv".to_owned()]).unwrap(), modules);
        assert!(order(&folder, &["floppy".to_owned()]).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
