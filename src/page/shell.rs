//! What every page has: one file that asks for nothing, light or dark as the reader has it, readable on a phone.

use crate::plot;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;

/// Whatever a text in it says, a page loads nothing and sends nothing.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'; base-uri 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#565656;--ground:#fff;--raised:#f5f5f3;--edge:#d5d5d0;--accent:#0a62a8;--on-accent:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#ababab;--ground:#161616;--raised:#202020;--edge:#3a3a3a;\
--accent:#7cc0f5;--on-accent:#10151a}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:76rem;padding:1rem clamp(.8rem,3vw,2rem) 3rem;background:var(--ground);\
color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:break-word}\
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .4rem}h3{font-size:1rem;margin:1.2rem 0 .3rem}\
p{margin:.4rem 0;max-width:48rem}.soft{color:var(--soft)}a{color:var(--accent)}\
pre,.text{font:.875rem/1.45 ui-monospace,monospace;white-space:pre-wrap;background:var(--raised);border:1px solid var(--edge);\
border-radius:.4rem;padding:.7rem .8rem;margin:.5rem 0}\
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}\
figure{margin:0;min-width:0}figcaption{color:var(--soft);font-size:.875rem}svg{width:100%;height:auto;display:block}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid var(--edge);vertical-align:top}th:first-child{text-align:left;\
position:sticky;left:0;background:var(--ground);min-width:9rem;max-width:22rem}thead th{font-weight:600;white-space:nowrap}\
th small{display:block;font-weight:400;color:var(--soft)}\
button,select,input{font:inherit;color:inherit}button{background:var(--raised);border:1px solid var(--edge);border-radius:.4rem;\
padding:.45rem .9rem;min-height:2.75rem;cursor:pointer}button.main{background:var(--accent);color:var(--on-accent);border-color:var(--accent)}\
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}summary{cursor:pointer;padding:.3rem 0}";

/// A page: `style` is what it has beside that of all, `script` what it does.
pub(super) fn page(title: &str, style: &str, body: &Markup, script: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(plot::STYLE)) (PreEscaped(style)) }
            }
            body {
                main { (body) }
                @if !script.is_empty() { script { (PreEscaped(script)) } }
            }
        }
    };
    page.into_string() + "\n"
}

/// Data for a page's script, in an element of this id. No text in it ends the element: JSON may write `<` as a number.
pub(super) fn data(id: &str, data: &impl Serialize) -> Markup {
    let json = serde_json::to_string(data).expect("plain data is always JSON").replace('<', "\\u003c");
    html! { script type="application/json" id=(id) { (PreEscaped(json)) } }
}
