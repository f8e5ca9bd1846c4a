//! Adds one property to each processor of a flattened device tree (Devicetree Specification 0.4,
//! chapter 5). It understands nothing else of the tree.

use anyhow::{Context, Result, ensure};

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const COMPATIBLE_VERSION: u32 = 16;
const HEADER_BYTES: usize = 40;
const RESERVATION_BYTES: usize = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Nodes of processors are named so by the firmware interface of POWER.
const PROCESSOR: &[u8] = b"PowerPC,";

/// The tree with `name = <cells>` in each processor's node.
pub(crate) fn with_processor_property(tree: &[u8], name: &str, cells: &[u32]) -> Result<Vec<u8>> {
    let field = |index: usize| -> Result<usize> { Ok(usize::try_from(word(tree, index * 4)?)?) };
    ensure!(word(tree, 0)? == MAGIC, "not a device tree");
    let part = |start: usize, size: usize| {
        let end = start.checked_add(size).context("a part beyond any tree")?;
        tree.get(start..end).context("a part outside the tree")
    };
    let structure = part(field(2)?, field(9)?)?;
    let mut strings = part(field(3)?, field(8)?)?.to_vec();
    let reserved = part(field(4)?, reservations(tree, field(4)?)?)?;

    let name_at = u32::try_from(strings.len())?;
    strings.extend_from_slice(name.as_bytes());
    strings.push(0);
    let mut property = vec![PROPERTY, u32::try_from(cells.len() * 4)?, name_at];
    property.extend_from_slice(cells);
    let structure = inserted(structure, &property)?;

    let structure_at = HEADER_BYTES + reserved.len();
    let strings_at = structure_at + structure.len();
    let total = strings_at + strings.len();
    let sizes = [total, structure_at, strings_at, HEADER_BYTES].map(u32::try_from);
    let [total, structure_at, strings_at, reserved_at] = sizes;
    let header = [
        MAGIC,
        total?,
        structure_at?,
        strings_at?,
        reserved_at?,
        VERSION,
        COMPATIBLE_VERSION,
        word(tree, 7 * 4)?,
        u32::try_from(strings.len())?,
        u32::try_from(structure.len())?,
    ];
    let mut whole: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
    for part in [reserved, &structure, &strings] {
        whole.extend_from_slice(part);
    }
    Ok(whole)
}

/// Copies the structure, with the property first in each processor's node.
fn inserted(structure: &[u8], property: &[u32]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(structure.len() + 256);
    let mut at = 0;
    loop {
        let token = word(structure, at)?;
        let length = match token {
            BEGIN_NODE => 4 + (text(structure, at + 4)?.len() + 1).next_multiple_of(4),
            PROPERTY => 12 + usize::try_from(word(structure, at + 4)?)?.next_multiple_of(4),
            END_NODE | NOP | END => 4,
            other => anyhow::bail!("unknown token {other} in the device tree"),
        };
        let bytes = structure.get(at..at + length).context("the tree ends early")?;
        out.extend_from_slice(bytes);
        if token == BEGIN_NODE && text(structure, at + 4)?.starts_with(PROCESSOR) {
            out.extend(property.iter().flat_map(|word| word.to_be_bytes()));
        }
        if token == END {
            return Ok(out);
        }
        at += length;
    }
}

/// The size of the list of reserved memory, its empty last entry included.
fn reservations(tree: &[u8], start: usize) -> Result<usize> {
    let list = tree.get(start..).context("reservations outside the tree")?;
    let last = list
        .chunks_exact(RESERVATION_BYTES)
        .position(|entry| entry.iter().all(|byte| *byte == 0))
        .context("the list of reservations has no end")?;
    Ok((last + 1) * RESERVATION_BYTES)
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word =
        bytes.get(at..).and_then(|rest| rest.first_chunk()).context("the tree ends early")?;
    Ok(u32::from_be_bytes(*word))
}

/// The bytes up to the next zero.
fn text(bytes: &[u8], at: usize) -> Result<&[u8]> {
    let rest = bytes.get(at..).context("the tree ends early")?;
    let length = rest.iter().position(|byte| *byte == 0).context("a name without end")?;
    rest.get(..length).context("the tree ends early")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with the property `x = <5>` and one node.
    fn tree(node: [u32; 4]) -> Vec<u8> {
        let mut structure = vec![BEGIN_NODE, 0, PROPERTY, 4, 0, 5, BEGIN_NODE];
        structure.extend(node);
        structure.extend([END_NODE, END_NODE, END]);
        let size = u32::try_from(structure.len() * 4).unwrap();
        let mut words = vec![MAGIC, 56 + size + 2, 56, 56 + size, 40, 17, 16, 0, 2, size];
        words.extend([0; 4]);
        words.extend(structure);
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend_from_slice(b"x\0");
        bytes
    }

    fn name(text: &[u8; 16]) -> [u32; 4] {
        std::array::from_fn(|index| word(text, index * 4).unwrap())
    }

    #[test]
    fn a_processor_gets_the_property_and_the_sizes_follow() {
        let old = tree(name(b"PowerPC,POWER9\0\0"));
        let new = with_processor_property(&old, "pages", &[7, 8]).unwrap();
        assert_eq!(new.len(), old.len() + 20 + 6);
        assert_eq!(word(&new, 4).unwrap(), u32::try_from(new.len()).unwrap());
        assert!(new.ends_with(b"x\0pages\0"));
        let property: Vec<u8> =
            [PROPERTY, 8, 2, 7, 8].into_iter().flat_map(u32::to_be_bytes).collect();
        let node = new.windows(20).position(|bytes| bytes == property).unwrap();
        assert!(new.get(..node).unwrap().ends_with(b"PowerPC,POWER9\0\0"));
        // What was written can be read again.
        assert!(with_processor_property(&new, "more", &[]).is_ok());
    }

    #[test]
    fn other_nodes_stay_as_they_are() {
        let old = tree(name(b"memory@0\0\0\0\0\0\0\0\0"));
        assert!(with_processor_property(&old, "pages", &[7]).is_err(), "padding is no token");
        let old = tree(name(b"memory@00000000\0"));
        let new = with_processor_property(&old, "pages", &[7]).unwrap();
        assert_eq!(new.len(), old.len() + 6);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        assert!(with_processor_property(b"", "x", &[]).is_err());
        assert!(with_processor_property(&[0; 64], "x", &[]).is_err());
        let mut cut = tree(name(b"memory@00000000\0"));
        cut.truncate(80);
        assert!(with_processor_property(&cut, "x", &[]).is_err());
    }
}
