//! Tokens as vectors of one length.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::UnitRows;

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    for (symbols, dims) in [(1, 1), (7, 6), (9, 32), (66, 33), (257, 64)] {
        let mut rows = b.normals(symbols * dims, 1.5);
        // A row without a direction.
        rows[..if symbols > 7 { dims } else { 0 }].fill(0.0);
        let table = b.float(symbols, dims, rows);
        let (units, rstd) = (b.float_out(symbols, dims), b.float_out(symbols, 1));
        b.push(UnitRows { table, units, rstd });
    }
    b.run(watch, &format!("vectors of one length in {dtype:?}"));
}
