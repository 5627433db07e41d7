//! Byte offsets of struct members from the running kernel's BTF.
//!
//! Only as much of the format as that takes (kernel documentation, `bpf/btf.rst`): programs written in Rust
//! carry no relocations the loader could resolve.

/// Where the kernel offers its own type information (since 5.4, `CONFIG_DEBUG_INFO_BTF`).
pub const PATH: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;

/// Byte offsets of `members` of `struct NAME`; `None` when the data is not BTF or a member is missing.
pub fn member_offsets<const N: usize>(btf: &[u8], name: &str, members: [&str; N]) -> Option<[u32; N]> {
    let btf = Btf::parse(btf)?;
    let mut at = 0;
    while let Some(header) = btf.record(at) {
        if header.kind == KIND_STRUCT && btf.name(header.name) == Some(name.as_bytes()) {
            return btf.offsets(at, &header, members);
        }
        at += header.size()?;
    }
    None
}

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// `struct btf_type`, 12 bytes.
struct Record {
    name: u32,
    kind: u32,
    vlen: usize,
    /// Member offsets also hold bit-field sizes.
    kind_flag: bool,
}

impl<'a> Btf<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        if u16::from_le_bytes(data.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let body = data.get(word(data, 4)? as usize..)?;
        let section = |offset: u32, len: u32| body.get(offset as usize..)?.get(..len as usize);
        Some(Self {
            types: section(word(data, 8)?, word(data, 12)?)?,
            strings: section(word(data, 16)?, word(data, 20)?)?,
        })
    }

    fn record(&self, at: usize) -> Option<Record> {
        let info = word(self.types, at + 4)?;
        Some(Record {
            name: word(self.types, at)?,
            kind: info >> 24 & 0x1f,
            vlen: (info & 0xffff) as usize,
            kind_flag: info >> 31 == 1,
        })
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let from = self.strings.get(offset as usize..)?;
        from.get(..from.iter().position(|&byte| byte == 0)?)
    }

    fn offsets<const N: usize>(&self, at: usize, header: &Record, members: [&str; N]) -> Option<[u32; N]> {
        let mut found = [None; N];
        for index in 0..header.vlen {
            let member = at + 12 + index * 12;
            let name = self.name(word(self.types, member)?)?;
            if let Some(slot) = members.iter().position(|wanted| wanted.as_bytes() == name) {
                let bits = word(self.types, member + 8)?;
                *found.get_mut(slot)? = Some(if header.kind_flag { bits & 0xff_ffff } else { bits } / 8);
            }
        }
        let complete: Vec<u32> = found.into_iter().flatten().collect();
        complete.try_into().ok()
    }
}

impl Record {
    /// Bytes of the record with what follows it, by kind.
    fn size(&self) -> Option<usize> {
        let trailer = match self.kind {
            1 | 14 | 17 => 4,                  // int, var, decl_tag
            3 => 12,                           // array
            4 | 5 | 15 | 19 => 12 * self.vlen, // struct, union, datasec, enum64
            6 | 13 => 8 * self.vlen,           // enum, func_proto
            2 | 7..=12 | 16 | 18 => 0,         // pointers, modifiers, forward, func, float, type_tag
            _ => return None,
        };
        Some(12 + trailer)
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_kernels_task_struct() {
        let btf = std::fs::read(PATH).expect("this kernel has BTF");
        let [pid, tgid, comm] = member_offsets(&btf, "task_struct", ["pid", "tgid", "comm"]).unwrap();
        assert_eq!(tgid, pid + 4);
        assert!(comm > tgid);
        assert!(member_offsets(&btf, "tcp_sock", ["write_seq"]).is_some());
    }

    #[test]
    fn garbage_is_no_btf() {
        assert!(member_offsets(&[], "task_struct", ["pid"]).is_none());
        assert!(member_offsets(&[0x9f, 0xeb, 1, 0, 255, 255, 255, 255], "task_struct", ["pid"]).is_none());
        let mut btf = std::fs::read(PATH).expect("this kernel has BTF");
        btf.truncate(10_000);
        assert!(member_offsets(&btf, "task_struct", ["pid"]).is_none());
    }
}
