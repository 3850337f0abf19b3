//! Module images: PTX text, or a fat binary that holds PTX for one or more devices.
//!
//! A fat binary is a header and a row of entries, each with a kind (1 = PTX, 2 = cubin), an
//! architecture and a payload, plain, LZ4 (`nvcc --compress-mode=speed`) or Zstandard (the
//! default). The driver's choice here is the PTX of the newest architecture that the device
//! can run. Cubins are machine code for silicon, and are passed over.

use super::abi::HostMemory;
use super::error::{Answer, Code};
use std::io::Read;

const FATBIN_MAGIC: u32 = 0xBA55_ED50;
const WRAPPER_MAGIC: u32 = 0x4662_43B1;
const ELF_MAGIC: u32 = 0x464C_457F;

const KIND_PTX: u16 = 1;
const COMPRESSED_LZ4: u64 = 0x2000;
const COMPRESSED_ZSTD: u64 = 0x8000;
/// PTX is text; an entry that claims to unpack to more than this is broken.
const LARGEST_TEXT: u64 = 1 << 30;

/// The PTX text to run on a device of that `sm_` number; `say` hears why there is none.
pub(super) fn ptx(image: HostMemory, sm: u32, say: &dyn Fn(&str)) -> Answer<String> {
    match u32_at(&image.read(4)?, 0) {
        FATBIN_MAGIC => from_fatbin(&read_fatbin(image)?, sm, say),
        WRAPPER_MAGIC => {
            let pointer = u64_at(&image.read(16)?, 8);
            from_fatbin(&read_fatbin(HostMemory::at(pointer as usize))?, sm, say)
        }
        ELF_MAGIC => {
            say(
                "it is a cubin (machine code); the virtual GPU runs PTX: load PTX text, or a fat binary with PTX in it",
            );
            Err(Code::NoBinaryForGpu)
        }
        _ => image.text(),
    }
}

/// The PTX text in a file's bytes.
pub(super) fn ptx_of_file(mut bytes: Vec<u8>, sm: u32, say: &dyn Fn(&str)) -> Answer<String> {
    bytes.push(0);
    ptx(HostMemory::at(bytes.as_ptr().expose_provenance()), sm, say)
}

fn read_fatbin(image: HostMemory) -> Answer<Vec<u8>> {
    let head = image.read(16)?;
    if u32_at(&head, 0) != FATBIN_MAGIC {
        return Err(Code::InvalidImage);
    }
    let bytes = u64::from(u16_at(&head, 6)) + u64_at(&head, 8);
    if bytes > LARGEST_TEXT {
        return Err(Code::InvalidImage);
    }
    image.read(bytes as usize)
}

struct Entry<'a> {
    sm: u32,
    flags: u64,
    unpacked_bytes: u64,
    payload: &'a [u8],
}

/// The PTX entries of a fat binary.
fn entries(fatbin: &[u8]) -> Answer<Vec<Entry<'_>>> {
    let mut found = Vec::new();
    let mut rest = fatbin.get(usize::from(u16_at(fatbin, 6))..).ok_or(Code::InvalidImage)?;
    while rest.len() >= 64 {
        let header = u32_at(rest, 4) as usize;
        let padded = usize::try_from(u64_at(rest, 8)).map_err(|_| Code::InvalidImage)?;
        let end = header.checked_add(padded).ok_or(Code::InvalidImage)?;
        if header < 64 || end > rest.len() {
            return Err(Code::InvalidImage);
        }
        let flags = u64_at(rest, 40);
        let packed = flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD) != 0;
        let payload = if packed { u32_at(rest, 16) as usize } else { padded };
        if u16_at(rest, 0) == KIND_PTX {
            found.push(Entry {
                sm: u32_at(rest, 28),
                flags,
                unpacked_bytes: u64_at(rest, 56),
                payload: rest[header..end].get(..payload).ok_or(Code::InvalidImage)?,
            });
        }
        rest = &rest[end..];
    }
    Ok(found)
}

fn from_fatbin(fatbin: &[u8], sm: u32, say: &dyn Fn(&str)) -> Answer<String> {
    let mut texts = Vec::new();
    for entry in entries(fatbin)? {
        let text = unpack(&entry)?;
        if runs_on(&text, entry.sm, sm) {
            texts.push((entry.sm, text));
        }
    }
    match texts.into_iter().max_by_key(|(sm, _)| *sm) {
        Some((_, text)) => Ok(text),
        None => {
            say(&format!(
                "the fat binary holds no PTX that runs on sm_{sm}; compile with -gencode arch=compute_{sm},code=compute_{sm} or older"
            ));
            Err(Code::NoBinaryForGpu)
        }
    }
}

/// Plain PTX runs on its architecture and all later ones; with a suffix (`sm_90a`) on that
/// one alone.
fn runs_on(text: &str, target: u32, sm: u32) -> bool {
    let suffixed = text.lines().find_map(|line| line.trim().strip_prefix(".target")).is_some_and(|line| {
        let name = line.trim().split(',').next().unwrap_or_default().trim();
        !name.ends_with(|c: char| c.is_ascii_digit())
    });
    if suffixed { target == sm } else { target <= sm }
}

fn unpack(entry: &Entry<'_>) -> Answer<String> {
    if entry.unpacked_bytes > LARGEST_TEXT {
        return Err(Code::InvalidImage);
    }
    let bytes = if entry.flags & COMPRESSED_ZSTD != 0 {
        let mut unpacked = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(entry.payload)
            .map_err(|_| Code::InvalidImage)?
            .take(LARGEST_TEXT)
            .read_to_end(&mut unpacked)
            .map_err(|_| Code::InvalidImage)?;
        unpacked
    } else if entry.flags & COMPRESSED_LZ4 != 0 {
        lz4(entry.payload, entry.unpacked_bytes as usize).ok_or(Code::InvalidImage)?
    } else {
        entry.payload.to_vec()
    };
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// One LZ4 block: runs of literals, each followed by a match in what came before.
fn lz4(mut input: &[u8], size: usize) -> Option<Vec<u8>> {
    fn take<'a>(input: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
        let (head, tail) = input.split_at_checked(bytes)?;
        *input = tail;
        Some(head)
    }
    /// A length of 15 goes on in further bytes, as long as they are 255.
    fn length(input: &mut &[u8], nibble: u8) -> Option<usize> {
        let mut length = usize::from(nibble);
        if nibble == 15 {
            loop {
                let byte = take(input, 1)?[0];
                length += usize::from(byte);
                if byte != 255 {
                    break;
                }
            }
        }
        Some(length)
    }
    let mut output = Vec::with_capacity(size);
    while !input.is_empty() {
        let token = take(&mut input, 1)?[0];
        let literals = length(&mut input, token >> 4)?;
        output.extend_from_slice(take(&mut input, literals)?);
        if input.is_empty() {
            break; // the last run has no match
        }
        let distance = usize::from(u16_at(take(&mut input, 2)?, 0));
        let matched = length(&mut input, token & 15)? + 4;
        let start = output.len().checked_sub(distance).filter(|_| distance > 0)?;
        if output.len() + matched > size {
            return None;
        }
        for i in start..start + matched {
            output.push(output[i]);
        }
    }
    (output.len() == size).then_some(output)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u64_at(bytes, at) as u16
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u64_at(bytes, at) as u32
}

/// Little-endian, as far as the bytes go.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u16, sm: u32, flags: u64, payload: &[u8], unpacked: u64) -> Vec<u8> {
        let padded = payload.len().next_multiple_of(8);
        let mut bytes = vec![0; 64];
        bytes[0..2].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&64u32.to_le_bytes());
        bytes[8..16].copy_from_slice(&(padded as u64).to_le_bytes());
        bytes[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[28..32].copy_from_slice(&sm.to_le_bytes());
        bytes[40..48].copy_from_slice(&flags.to_le_bytes());
        bytes[56..64].copy_from_slice(&unpacked.to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(64 + padded, 0);
        bytes
    }

    fn fatbin(entries: &[Vec<u8>]) -> Vec<u8> {
        let body = entries.concat();
        let mut bytes = FATBIN_MAGIC.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[1, 0, 16, 0]);
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    fn load(image: &[u8], sm: u32) -> Answer<String> {
        ptx(HostMemory::at(image.as_ptr().expose_provenance()), sm, &|_| {})
    }

    #[test]
    fn the_newest_ptx_that_runs_is_chosen() {
        let image = fatbin(&[
            entry(1, 75, 0, b".target sm_75\n", 0),
            entry(2, 80, 0, b"\x7fELF", 0),
            entry(1, 80, 0, b".target sm_80\n", 0),
            entry(1, 90, 0, b".target sm_90a\n", 0),
        ]);
        assert!(load(&image, 75).unwrap().contains("sm_75"));
        assert!(load(&image, 89).unwrap().contains("sm_80"));
        assert!(load(&image, 90).unwrap().contains("sm_90a"));
        assert!(load(&image, 100).unwrap().contains("sm_80"), "sm_90a runs on 9.0 only");
        assert_eq!(load(&image, 70), Err(Code::NoBinaryForGpu));
    }

    #[test]
    fn lz4_matches_may_overlap_themselves() {
        // "ab" then 10 bytes from 2 back, then "c"
        let packed = [0x26, b'a', b'b', 2, 0, 0x10, b'c'];
        assert_eq!(lz4(&packed, 13).unwrap(), b"ababababababc");
        assert_eq!(lz4(&packed, 12), None);
        assert_eq!(lz4(&[0x10], 1), None, "cut short");
        assert_eq!(lz4(&[0x10, b'a', 9, 0], 20), None, "match before the start");
        let image = fatbin(&[entry(1, 80, COMPRESSED_LZ4, &packed, 13)]);
        assert_eq!(load(&image, 80).unwrap(), "ababababababc");
    }

    #[test]
    fn broken_fat_binaries_are_refused() {
        let good = fatbin(&[entry(1, 80, 0, b".target sm_80\n", 0)]);
        let mut longer = good.clone();
        longer[16 + 8] = 0xff; // the entry's payload runs past the end
        assert_eq!(load(&longer, 80), Err(Code::InvalidImage));
        let mut packed = good.clone();
        packed[16 + 41] = 0x80; // claims Zstandard
        assert_eq!(load(&packed, 80), Err(Code::InvalidImage));
        assert_eq!(load(b"\x7fELF\0\0\0\0", 80), Err(Code::NoBinaryForGpu));
    }

    #[test]
    fn text_is_taken_as_it_is() {
        assert_eq!(load(b".version 8.0\n\0", 80).unwrap(), ".version 8.0\n");
        assert_eq!(ptx_of_file(b".version 8.0".to_vec(), 80, &|_| {}).unwrap(), ".version 8.0");
    }
}
