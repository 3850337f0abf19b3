//! Files that `torch.save` wrote: their tensors, and the whole numbers beside them. No code that a pickle may hold is run.

use crate::error::{Error, Result};
use pytorch_reader::{DType, PickleValue, PytorchReader};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;

/// Whether bytes are a file of `torch.save`: a zip archive, a pickle where an earlier version wrote it.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 0x02])
}

/// Its tensors as a safetensors file holds them, under their names with points between; whole numbers on its top level, such
/// as a count of steps, are metadata.
pub(super) fn to_safetensors(path: &Path) -> Result<Vec<u8>> {
    let refuse = |why: &dyn Display| {
        Error::input(format!(
            "{}: a PyTorch file that cannot be read: {why}; save its weights alone, by \
             safetensors.torch.save_file(model.state_dict(), ...)",
            path.display()
        ))
    };
    let numbers = match PytorchReader::read_pickle_data(path, None) {
        Ok(PickleValue::Dict(entries)) => entries
            .into_iter()
            .filter_map(
                |(name, value)| if let PickleValue::Int(n) = value { Some((name, n.to_string())) } else { None },
            )
            .collect(),
        _ => HashMap::new(),
    };
    let reader = PytorchReader::new(path).map_err(|e| refuse(&e))?;
    let mut tensors = Vec::new();
    for (name, tensor) in reader.tensors() {
        tensors.push((name, dtype(tensor.dtype()), tensor.shape().to_vec(), tensor.read().map_err(|e| refuse(&e))?));
    }
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>().map_err(|e| refuse(&e))?;
    safetensors::serialize(views, Some(numbers)).map_err(|e| refuse(&e))
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
