//! The embedding of tokens and timesteps.

use super::Kind::{F32, Ids, Numbers};
use super::{Accumulate, Contract, DType, Describe, Mat, sumsq_slots};

/// `e = token[ids] + time[t]`, `x = norm(e)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embed {
    pub ids: Mat,
    /// `[B, 1]` u32 timesteps and the `[timesteps, C]` table.
    pub time: Option<(Mat, Mat)>,
    /// `[V, C]` table.
    pub token: Mat,
    pub x: Mat,
    /// `[N, ⌈C/128⌉]` sums of squares of x.
    pub sumsq: Mat,
    /// `[N, 1]` r of e, for the backward.
    pub rstd: Mat,
}

impl Describe for Embed {
    fn describe(&self, contract: &mut Contract) {
        let (n, [v, c]) = (self.ids.len(), self.token.shape());
        contract.read("ids", self.ids, self.ids.shape(), Ids);
        contract.read("token", self.token, [v, c], Numbers);
        if let Some((t, table)) = self.time {
            contract.read("t", t, [self.ids.rows, 1], Ids);
            contract.read("time table", table, [table.rows, c], Numbers);
        }
        contract.write("x", self.x, [n, c], Numbers);
        contract.write("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.write("rstd", self.rstd, [n, 1], F32);
        contract.units = |_, output| if output == DType::F32 { 2.0 } else { 0.0 };
    }
}

/// Backward of [`Embed`]: `de = rstd·(dx - x·⟨dx, x⟩/C)`; `dtoken[v] (+)= Σ de` over rows with id v, and
/// likewise `dtime`, in row order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbedBackward {
    pub ids: Mat,
    /// `[B, 1]` u32 timesteps and the `[timesteps, C]` gradient.
    pub time: Option<(Mat, Mat)>,
    pub dx: Mat,
    pub x: Mat,
    pub rstd: Mat,
    pub accumulate: Accumulate,
    pub dtoken: Mat,
}

impl Describe for EmbedBackward {
    fn describe(&self, contract: &mut Contract) {
        let (n, [v, c], accumulated) = (self.ids.len(), self.dtoken.shape(), self.accumulate.access());
        contract.read("ids", self.ids, self.ids.shape(), Ids);
        contract.read("dx", self.dx, [n, c], Numbers);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("rstd", self.rstd, [n, 1], F32);
        if let Some((t, dtime)) = self.time {
            contract.read("t", t, [self.ids.rows, 1], Ids);
            contract.add(accumulated, "dtime", dtime, [dtime.rows, c], F32);
        }
        contract.add(accumulated, "dtoken", self.dtoken, [v, c], F32);
    }
}
