//! Whether a program starts where there is nothing but itself.
use anyhow::{Context as _, bail, ensure};

/// A program header that names a loader (`elf(5)`, `PT_INTERP`).
const INTERPRETER: u32 = 3;

/// Fails for what is no 64-bit little-endian ELF program, or needs a loader and libraries.
pub(crate) fn check_static(program: &[u8]) -> anyhow::Result<()> {
    ensure!(program.get(..6) == Some(b"\x7fELF\x02\x01"), "no 64-bit little-endian ELF program");
    // Elf64_Ehdr: e_phoff at 32, e_phentsize at 54, e_phnum at 56.
    let table = usize::try_from(u64::from_le_bytes(at(program, 32)?))?;
    let (size, count) = (u16::from_le_bytes(at(program, 54)?), u16::from_le_bytes(at(program, 56)?));
    for index in 0..usize::from(count) {
        if u32::from_le_bytes(at(program, table + index * usize::from(size))?) == INTERPRETER {
            bail!("it is linked to shared libraries, which an image from scratch has not; build it for a musl target");
        }
    }
    Ok(())
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> anyhow::Result<[u8; N]> {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().context("it ends within its header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_a_loader_and_a_text_is_no_program() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let wrong = check_static(&own).unwrap_err().to_string();
        assert!(wrong.contains("musl"), "{wrong}");
        assert!(check_static(b"#!/bin/sh\n").is_err());
        assert!(check_static(&own[..60]).is_err());
    }
}
