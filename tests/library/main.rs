//! Parts of the library through their public interface: files, configuration, text, parameters.

mod atomic;
mod blind;
mod dimensions;
mod edit;
mod health;
mod learning_rate;
mod metrics;
mod page;
mod params;
mod plot;
mod policy;
mod quality;
mod report;
mod schedule;
mod tensorboard;
mod tensors;
mod text;
mod vocab;
mod watch;
mod workload;
