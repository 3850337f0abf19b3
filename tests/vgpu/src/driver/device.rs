//! Devices and their attributes.
//!
//! `VGPU_PROFILE` says which devices are there: `a100` (the default), `rtx4090`, `h100`, or
//! several with commas. `VGPU_DRIVER` is the version the driver claims, `13000` by default;
//! an older one refuses newer PTX, as a real one does. With `VGPU_STUB=1` it is what a
//! toolkit has for a linker instead of a driver, and `cuInit` says so. With `VGPU_CLOCKS=0`
//! it tells no clocks, as newer drivers do on some cards.

use super::abi::{CText, Out, exports};
use super::error::{Answer, Code};
use crate::profile::Profile;
use std::ffi::c_char;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) ordinal: i32,
    pub(super) profile: Profile,
}

static INITIALISED: AtomicBool = AtomicBool::new(false);
static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();

fn devices() -> &'static [Device] {
    DEVICES.get_or_init(|| {
        let wanted = std::env::var("VGPU_PROFILE").unwrap_or_else(|_| "a100".into());
        let profiles = wanted.split(',').filter(|name| !name.trim().is_empty()).filter_map(|name| {
            let found = Profile::by_name(name);
            if found.is_none() {
                let known: Vec<_> = Profile::all().iter().map(|p| p.key).collect();
                eprintln!("vgpu: VGPU_PROFILE names \"{name}\"; known are {}", known.join(", "));
            }
            found
        });
        profiles.enumerate().map(|(ordinal, profile)| Device { ordinal: ordinal as i32, profile }).collect()
    })
}

/// The version the driver claims: 13000 for CUDA 13.0.
pub(super) fn driver_version() -> i32 {
    static VERSION: OnceLock<i32> = OnceLock::new();
    *VERSION
        .get_or_init(|| std::env::var("VGPU_DRIVER").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(13_000))
}

/// Most calls need `cuInit` first.
pub(super) fn require_init() -> Answer {
    if INITIALISED.load(Ordering::SeqCst) { Ok(()) } else { Err(Code::NotInitialized) }
}

/// The device of that ordinal.
pub(super) fn find(ordinal: i32) -> Answer<&'static Device> {
    require_init()?;
    usize::try_from(ordinal).ok().and_then(|index| devices().get(index)).ok_or(Code::InvalidDevice)
}

fn tells_clocks() -> bool {
    std::env::var("VGPU_CLOCKS").map_or(true, |value| value != "0")
}

/// `CUdevice_attribute` by number.
fn attribute(number: u32, device: &Device) -> Answer<i32> {
    let p = &device.profile;
    let value: u64 = match number {
        1 => p.threads_per_block.into(),
        2..=4 => p.block_limit[number as usize - 2].into(),
        5..=7 => p.grid_limit[number as usize - 5].into(),
        8 => p.shared_per_block.into(),
        9 => 65_536, // constant memory
        10 => 32,    // warp
        11 => i32::MAX as u64,
        12 => p.registers_per_block.into(),
        13 | 36 if !tells_clocks() => 0,
        13 => p.clock_khz.into(),
        14 | 30 => 512, // texture, surface alignment
        15 => 1,        // copies overlap kernels
        16 => p.sm_count.into(),
        17 | 18 | 20 => 0, // no time-out, not integrated, default compute mode
        19 => 1,           // host memory can be mapped
        21 | 55 => 131_072,
        22 | 56 => 131_072,
        23 | 57 => 65_536,
        24..=26 | 58..=60 => 16_384,
        27 | 28 | 61 | 63 | 64 => 32_768,
        29 | 43 | 62 | 65 => 2048,
        31 => 1, // concurrent kernels
        32 => p.ecc.into(),
        33 => 1 + device.ordinal as u64, // PCI bus
        34 | 35 | 50 => 0,               // PCI device, TCC, PCI domain
        36 => p.memory_clock_khz.into(),
        37 => p.memory_bus_bits.into(),
        38 => p.l2_bytes.into(),
        39 => p.threads_per_sm.into(),
        40 => p.copy_engines.into(),
        41 => 1, // unified addressing
        42 | 52 | 66 | 77 => 32_768,
        44 => 1, // texture gather
        45 | 46 | 73 | 74 => 32_768,
        47..=49 => 0,
        51 => 32,
        53 | 67 => 32_768,
        54 | 68 => 2046,
        69 => 1 << 28,
        70 => 131_072,
        71 => 65_000,
        72 => 2_097_120,
        75 => p.capability.0.into(),
        76 => p.capability.1.into(),
        78..=80 => 1, // stream priorities, L1 caching
        81 => p.shared_per_sm.into(),
        82 => p.registers_per_sm.into(),
        83 => 1,      // managed memory
        84..=86 => 0, // no multi-GPU board, no host atomics over the bus
        87 => p.single_to_double_ratio.into(),
        88 => 0,      // no pageable access
        89 | 90 => 1, // concurrent managed access, preemption
        91 => 1,
        92..=94 => 0, // stream memory operations
        95 => 1,      // cooperative launch
        96 => 0,
        97 => p.shared_per_block_optin.into(),
        98 => 0,
        99 => 1, // host registration
        100..=105 => 0,
        106 => p.blocks_per_sm.into(),
        107 => 0,
        108 => p.persisting_l2_bytes.into(),
        109 => 128 * 1024 * 1024,
        110 => 0,
        111 => p.shared_reserved_per_block.into(),
        112..=114 => 0,
        115 => 1, // memory pools
        116..=119 => 0,
        120 => u64::from(p.cluster_blocks > 0),
        121..=125 => 0,
        126 => 1, // memory synchronisation domains
        127..=149 => 0,
        _ => return Err(Code::InvalidValue),
    };
    Ok(value as i32)
}

/// A stable identity: the virtual GPU's mark, the device's kind, its ordinal.
fn uuid(device: &Device) -> [u8; 16] {
    let mut id = *b"virtual-GPU-\0\0\0\0";
    id[12] = device.profile.capability.0 as u8;
    id[13] = device.profile.capability.1 as u8;
    id[15] = device.ordinal as u8;
    id
}

exports! {
    /// Must come first.
    fn cuInit(flags: u32) {
        if flags != 0 {
            return Err(Code::InvalidValue);
        }
        if std::env::var("VGPU_STUB").is_ok_and(|value| value == "1") {
            return Err(Code::StubLibrary);
        }
        if devices().is_empty() {
            return Err(Code::NoDevice);
        }
        INITIALISED.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// The version of CUDA the driver supports.
    fn cuDriverGetVersion(version: Out<i32>) {
        version.set(driver_version())
    }

    /// The device of an ordinal.
    fn cuDeviceGet(device: Out<i32>, ordinal: i32) {
        device.set(find(ordinal)?.ordinal)
    }

    /// How many devices there are.
    fn cuDeviceGetCount(count: Out<i32>) {
        require_init()?;
        count.set(devices().len() as i32)
    }

    /// The device's name, cut to `room` bytes with its NUL.
    fn cuDeviceGetName(name: Out<c_char>, room: i32, device: i32) {
        let device = find(device)?;
        let room = usize::try_from(room).map_err(|_| Code::InvalidValue)?;
        name.set_text(device.profile.name, room)
    }

    /// The device's 16-byte identity.
    fn cuDeviceGetUuid(id: Out<[u8; 16]>, device: i32) {
        id.set(uuid(find(device)?))
    }

    /// The device's 16-byte identity.
    fn cuDeviceGetUuid_v2(id: Out<[u8; 16]>, device: i32) {
        id.set(uuid(find(device)?))
    }

    /// Bytes of memory.
    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) {
        bytes.set(find(device)?.profile.memory_bytes as usize)
    }

    /// An attribute.
    fn cuDeviceGetAttribute(value: Out<i32>, number: u32, device: i32) {
        value.set(attribute(number, find(device)?)?)
    }

    /// Compute capability, by an old name.
    fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) {
        let (a, b) = find(device)?.profile.capability;
        major.set(a as i32)?;
        minor.set(b as i32)
    }

    /// The place on the PCI bus, as text.
    fn cuDeviceGetPCIBusId(text: Out<c_char>, room: i32, device: i32) {
        let device = find(device)?;
        let room = usize::try_from(room).map_err(|_| Code::InvalidValue)?;
        text.set_text(&format!("0000:{:02X}:00.0", 1 + device.ordinal), room)
    }

    /// Whether a device reads another's memory: never here.
    fn cuDeviceCanAccessPeer(possible: Out<i32>, device: i32, peer: i32) {
        find(device)?;
        find(peer)?;
        possible.set(0)
    }

    /// A relation of two devices; none is special.
    fn cuDeviceGetP2PAttribute(value: Out<i32>, _number: u32, from: i32, to: i32) {
        find(from)?;
        find(to)?;
        value.set(0)
    }
}

/// What the library is, for whoever wonders which driver they talk to.
#[unsafe(no_mangle)]
pub extern "C" fn vgpu_about() -> CText {
    CText::of(c"virtual GPU: the CUDA driver API over a PTX interpreter")
}
