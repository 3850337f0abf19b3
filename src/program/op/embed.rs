//! The embedding of tokens and timesteps, or of tokens and their positions.

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

/// Backward of [`Embed`] whose ids are 0, 1, …, so that each row is of its own row of a table: `de` as of [`EmbedBackward`], the
/// table's gradient as it is stored, and `dtime[τ] (+)= Σ de` over the rows at timestep τ, in row order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbedRowsBackward {
    /// `[B, 1]` u32 timesteps and the `[timesteps, C]` gradient.
    pub time: Option<(Mat, Mat)>,
    pub dx: Mat,
    pub x: Mat,
    pub rstd: Mat,
    pub accumulate: Accumulate,
    /// `[N, C]`, always overwritten.
    pub de: Mat,
}

impl Describe for EmbedRowsBackward {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.dx.shape();
        contract.read("dx", self.dx, [n, c], Numbers);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("rstd", self.rstd, [n, 1], F32);
        if let Some((t, dtime)) = self.time {
            contract.read("t", t, [t.rows, 1], Ids);
            contract.add(self.accumulate.access(), "dtime", dtime, [dtime.rows, c], F32);
            contract.whole_sequences(n, n.div_ceil(t.rows));
        }
        contract.write("de", self.de, [n, c], Numbers);
    }
}

/// `x = token[ids] + position[p]`, p the column of the id, or `T - open[b]` where that is given, T - 1 where nothing is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbedPositions {
    pub ids: Mat,
    /// `[B, 1]` u32 and T: each text's open positions of so many, of which the first is the place of its one row.
    pub open: Option<(Mat, u32)>,
    /// `[V, C]` table.
    pub token: Mat,
    /// `[T, C]` table.
    pub position: Mat,
    pub x: Mat,
}

impl Describe for EmbedPositions {
    fn describe(&self, contract: &mut Contract) {
        let (n, [v, c], [b, positions]) = (self.ids.len(), self.token.shape(), self.ids.shape());
        contract.read("ids", self.ids, [b, positions], Ids);
        contract.read("open", self.open.map(|(open, _)| open), [b, 1], Ids);
        contract.read("token", self.token, [v, c], Numbers).moves(n * c);
        contract.read("position", self.position, [self.position.rows, c], Numbers).moves(positions * c);
        contract.write("x", self.x, [n, c], Numbers);
        let last = self.open.map_or(positions, |(_, of)| of as usize);
        contract.require(last <= self.position.rows, || format!("{last} positions of {}", self.position.rows));
        contract.require(self.open.is_none() || positions == 1, || format!("{positions} rows of a text"));
    }
}

/// Backward of [`EmbedPositions`] of whole sequences: `dtoken[v] (+)= Σ dx` over rows with id v in row order,
/// `dposition[p] (+)= Σ dx` over the rows at p; 0 where there are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbedPositionsBackward {
    pub ids: Mat,
    pub dx: Mat,
    pub accumulate: Accumulate,
    pub dtoken: Mat,
    pub dposition: Mat,
}

impl Describe for EmbedPositionsBackward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], accumulated) = (self.dx.shape(), self.accumulate.access());
        contract.read("ids", self.ids, self.ids.shape(), Ids);
        contract.read("dx", self.dx, [n, c], Numbers);
        contract.add(accumulated, "dtoken", self.dtoken, [self.dtoken.rows, c], F32);
        contract.add(accumulated, "dposition", self.dposition, [self.dposition.rows, c], F32);
        let (rows, positions, most) = (self.ids.len(), self.ids.cols, self.dposition.rows);
        contract.require(rows == n && positions <= most, || format!("{n} rows of {rows} ids at {positions} of {most}"));
    }
}
