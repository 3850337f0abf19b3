//! Special registers and address windows.

use super::frame::lanes;
use super::step::Exec;
use crate::isa::{Class, Element8, Reg, Space, Special};
use crate::memory::window;

/// Where the global timer starts: a time that is not zero.
const START_NS: u64 = 1_000_000_000_000;

impl Exec<'_, '_> {
    pub(super) fn special(&mut self, d: Reg, which: Special, mask: u32) {
        let launch = self.launch;
        let axis = |v: [u32; 3], i: u8| v.get(usize::from(i)).copied().unwrap_or(0);
        let first = self.warp.index * 32;
        let clusters = |i: usize| launch.grid[i].div_ceil(launch.cluster[i]);
        let index = self.common.index;
        let in_cluster: [u32; 3] = core::array::from_fn(|i| index[i] % launch.cluster[i]);
        let cluster_id: [u32; 3] = core::array::from_fn(|i| index[i] / launch.cluster[i]);
        let steps = self.warp.steps;
        let timer = START_NS + launch.instructions.load(core::sync::atomic::Ordering::Relaxed) + steps;
        let value: u64 = match which {
            Special::Tid(i) => {
                let mut value = [0; 32];
                for lane in lanes(mask) {
                    value[lane] = axis(launch.thread_index(first + lane as u32), i);
                }
                return self.frame_mut().set_w(d, &value, mask);
            }
            Special::LaneId
            | Special::LaneMaskEq
            | Special::LaneMaskLe
            | Special::LaneMaskLt
            | Special::LaneMaskGe
            | Special::LaneMaskGt => {
                let value = core::array::from_fn(|lane| {
                    let eq = 1u32 << lane;
                    let lt = eq - 1;
                    match which {
                        Special::LaneId => lane as u32,
                        Special::LaneMaskEq => eq,
                        Special::LaneMaskLe => lt | eq,
                        Special::LaneMaskLt => lt,
                        Special::LaneMaskGe => !lt,
                        _ => !(lt | eq),
                    }
                });
                return self.frame_mut().set_w(d, &value, mask);
            }
            Special::LocalFrame(offset) => {
                let value = self.frame().local_base.map(|base| base.wrapping_add(offset));
                return self.frame_mut().set_w(d, &value, mask);
            }
            Special::IsExplicitCluster => {
                let value = if launch.cluster == [1; 3] { 0 } else { u32::MAX };
                return self.frame_mut().set_p(d, value, mask);
            }
            Special::Ntid(i) => axis(launch.block, i).max(u32::from(i < 3)).into(),
            Special::Ctaid(i) => axis(index, i).into(),
            Special::Nctaid(i) => axis(launch.grid, i).into(),
            Special::WarpId => self.warp.index.into(),
            Special::NWarpId => launch.threads().div_ceil(32).into(),
            Special::SmId => self.common.linear % u64::from(launch.profile.sm_count.max(1)),
            Special::NSmId => launch.profile.sm_count.into(),
            Special::GridId => launch.id.into(),
            Special::Clock | Special::Clock64 => steps,
            Special::ClockHi => steps >> 32,
            Special::GlobalTimer | Special::GlobalTimerLo => timer,
            Special::GlobalTimerHi => timer >> 32,
            Special::DynamicSharedSize => launch.dynamic_shared.into(),
            Special::TotalSharedSize => launch.shared_bytes().into(),
            Special::DynamicSharedBase => launch.dynamic_base().into(),
            Special::EnvReg(_) | Special::Zero => 0,
            Special::ClusterId(i) => axis(cluster_id, i).into(),
            Special::NClusterId(i) => {
                if i < 3 {
                    clusters(usize::from(i)).into()
                } else {
                    0
                }
            }
            Special::ClusterCtaid(i) => axis(in_cluster, i).into(),
            Special::ClusterNctaid(i) => axis(launch.cluster, i).into(),
            Special::ClusterCtarank => self.common.rank.into(),
            Special::ClusterNctarank => launch.cluster.iter().product::<u32>().into(),
        };
        if d.class() == Class::Double {
            self.frame_mut().set_d(d, &[value; 32], mask);
        } else {
            self.frame_mut().set_w(d, &[value as u32; 32], mask);
        }
    }

    pub(super) fn cvta(&mut self, d: Reg, a: Reg, space: Space, to: bool, mask: u32) {
        let base = window::base(space);
        let x = self.doubles(a);
        let value = x.map(|x| if to { x.wrapping_sub(base) } else { x.wrapping_add(base) });
        self.frame_mut().set_d(d, &value, mask);
    }

    pub(super) fn is_space(&self, address: u64, space: Space) -> bool {
        let here = window::locate(address).0;
        match space {
            Space::Shared => {
                let rank = address.wrapping_sub(window::SHARED) / window::RANK_STEP;
                here == Space::Shared && (rank == 0 || rank == u64::from(self.common.rank) + 1)
            }
            Space::SharedCluster => here == Space::Shared,
            other => here == other,
        }
    }

    /// A parameter of the kernel, the same for all lanes.
    pub(super) fn load_param(&mut self, d: Reg, offset: u32, element: Element8, mask: u32) {
        let value = self.param(u64::from(offset), element);
        if d.class() == Class::Double {
            self.frame_mut().set_d(d, &[value; 32], mask);
        } else {
            self.frame_mut().set_w(d, &[value as u32; 32], mask);
        }
    }

    /// Bytes of the parameter buffer as a number; what lies beyond it is zero.
    pub(super) fn param(&self, offset: u64, element: Element8) -> u64 {
        let mut bytes = [0u8; 8];
        for (i, byte) in bytes.iter_mut().take(usize::from(element.bytes)).enumerate() {
            let at = offset.wrapping_add(i as u64);
            *byte = self.launch.params.get(at as usize).copied().unwrap_or(0);
        }
        extend(u64::from_le_bytes(bytes), element)
    }
}

/// Extends a loaded element to 64 bits.
#[inline(always)]
pub(super) fn extend(value: u64, element: Element8) -> u64 {
    if !element.signed {
        return value;
    }
    match element.bytes {
        1 => value as i8 as u64,
        2 => value as i16 as u64,
        4 => value as i32 as u64,
        _ => value,
    }
}
