//! Every op of the CPU backend against its contract.
//!
//! The formulas are the op's documentation, evaluated plainly in double precision; each element's tolerance is a running
//! error analysis of that evaluation (`number`). The memory is poisoned and guarded (`harness`).

mod attention;
mod attention_in_f64;
mod average;
mod conv;
mod decode;
mod dense;
mod dropout;
mod embed;
mod guidance;
mod harness;
mod head;
mod latents;
mod linear;
mod mixing;
mod muon;
mod muon_steps;
mod noise;
mod noised;
mod norms;
mod number;
mod optimizer;
mod relaxed;
mod sampling;
mod vectors;
