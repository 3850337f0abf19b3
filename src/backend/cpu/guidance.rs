//! Guidance of masked diffusion.

use super::sampling::params;
use super::{Context, computed};
use crate::program::{GIVEN, Guide, Unprompt};
use rayon::prelude::*;

computed! {
    unprompt(Unprompt);
    guide(Guide);
}

fn unprompt(Context { o, .. }: &mut Context<'_>, op: &Unprompt) {
    let Unprompt { x, masked, committed_at, mask_id, context, x_both, open } = *op;
    let (tokens, masked, committed_at) = (o.get::<u32>(x), o.get::<u32>(masked), o.get::<u32>(committed_at));
    let (as_it_is, without) = o.take::<u32>(x_both).split_at_mut(x.len());
    let (open, open_without) = o.take::<u32>(open).split_at_mut(x.len());
    as_it_is.copy_from_slice(tokens);
    for i in 0..x.len() {
        let (is_open, is_noise) = (masked[i] != 0, i % x.cols >= context as usize);
        let is_given = !is_open && committed_at[i] == GIVEN;
        without[i] = if is_given { mask_id } else { tokens[i] };
        open[i] = u32::from(is_open);
        open_without[i] = u32::from(is_open || (is_given && is_noise));
    }
}

fn guide(Context { o, .. }: &mut Context<'_>, op: &Guide) {
    let Guide { unprompted, params: rows, logits } = *op;
    let (params, of_text) = (params(o, rows), logits.len() / rows.rows);
    let texts = o.take::<f32>(logits).par_chunks_mut(of_text).zip(o.get::<f32>(unprompted).par_chunks(of_text));
    texts.zip(params).for_each(|((logits, unprompted), params)| {
        logits.iter_mut().zip(unprompted).for_each(|(with, without)| *with += params.guidance * (*with - without));
    });
}
