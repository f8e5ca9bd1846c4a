//! Bytes in memory, kept for the pieces that were written.

use super::Memory;

/// Contents are kept in pieces of this size.
const PIECE_BYTES: u64 = 1 << 12;

impl Memory {
    /// Copies bytes in, for the process; `None` unless all of them lie in mapped memory that may be written.
    pub(crate) fn write_mapped(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        let end = end_of(address, bytes.len())?;
        self.is_writable(address, end).then_some(())?;
        self.write(address, bytes)
    }

    /// Copies bytes out, for the process.
    pub(crate) fn read_mapped(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let end = end_of(address, bytes.len())?;
        self.is_readable(address, end).then_some(())?;
        self.read(address, bytes)
    }

    /// Copies bytes in, mapped or pinned. What lies in the way of the first missing byte is written.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        let mut left = bytes;
        let mut at = address;
        while !left.is_empty() {
            let (chunk, rest) = left.split_at(chunk_len(at, left.len()));
            let start = *self.blocks.range(..=at).next_back()?.0;
            let block = self.blocks.get_mut(&start).filter(|block| at < start + block.size)?;
            let piece = block.pieces.entry(at / PIECE_BYTES).or_insert_with(empty_piece);
            let offset = within_piece(at);
            piece[offset..offset + chunk.len()].copy_from_slice(chunk);
            at += as_bytes(chunk.len());
            left = rest;
        }
        Some(())
    }

    /// Copies bytes out, mapped or pinned.
    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let mut left = bytes;
        let mut at = address;
        while !left.is_empty() {
            let len = chunk_len(at, left.len());
            let (chunk, rest) = left.split_at_mut(len);
            let (_, block) = self.block_at(at)?;
            let offset = within_piece(at);
            match block.pieces.get(&(at / PIECE_BYTES)) {
                Some(piece) => chunk.copy_from_slice(&piece[offset..offset + len]),
                None => chunk.fill(0),
            }
            at += as_bytes(len);
            left = rest;
        }
        Some(())
    }
}

fn end_of(address: u64, len: usize) -> Option<u64> {
    address.checked_add(as_bytes(len))
}

fn as_bytes(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}

/// As much of `len` as lies in the piece of `at`.
fn chunk_len(at: u64, len: usize) -> usize {
    let room = PIECE_BYTES - at % PIECE_BYTES;
    usize::try_from(room).map_or(len, |room| room.min(len))
}

fn within_piece(at: u64) -> usize {
    usize::try_from(at % PIECE_BYTES).expect("an offset in a piece fits any usize")
}

fn empty_piece() -> Box<[u8]> {
    vec![0; usize::try_from(PIECE_BYTES).expect("a piece fits any usize")].into_boxed_slice()
}
