// The style sheet of the doctor's page: one column on a phone, two or three on wider screens, black
// on white when printed. Verdicts are shown both as text and by colour.
#pragma once

#include <string_view>

namespace xenpv::doctor {

inline constexpr std::string_view page_style = R"css(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#ffffff;--ink:#1b1f24;--soft:#5b6470;--line:#d9dee5;
--pass:#1a7f4b;--warn:#9a6300;--fail:#c0262d;--unknown:#5b6470;--tint-warn:#fff6e0;--tint-fail:#fdecec;
--c0:#2563b8;--c1:#c2570c;--c2:#15803d;--c3:#9333aa;--c4:#b45365;--c5:#0e7490;--c6:#7a6a00;--c7:#5b6470}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1d2127;--ink:#e6e9ed;--soft:#a0a9b4;--line:#343b45;
--pass:#4fc487;--warn:#e5b045;--fail:#ff7b7b;--unknown:#a0a9b4;--tint-warn:#2b2517;--tint-fail:#311d1f;
--c0:#6ea8fe;--c1:#f59e5b;--c2:#5fcf86;--c3:#cf94e0;--c4:#f08fa3;--c5:#4fc3dc;--c6:#d6c24a;--c7:#a0a9b4}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:76rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.2;margin:.2rem 0}
.type{font-size:1.1rem;margin:.1rem 0}
h2{font-size:1.15rem;margin:2rem 0 .6rem}
p{margin:.3rem 0}
.soft,figcaption,th{color:var(--soft)}
.soft{font-size:.9rem}
code,dd,dt{font-family:ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;font-size:.82rem}
.tally{display:flex;flex-wrap:wrap;gap:.5rem;list-style:none;padding:0;margin:.8rem 0}
.tally li{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.3rem .7rem;font-weight:600}
.pass{--tone:var(--pass)}.warn{--tone:var(--warn)}.fail{--tone:var(--fail)}.unknown{--tone:var(--unknown)}
.tally li,.name b{color:var(--tone)}
.row{background:var(--card);border:1px solid var(--line);border-left:.35rem solid var(--tone);border-radius:.4rem;
padding:.5rem .75rem;margin:.45rem 0;break-inside:avoid;display:grid;grid-template-columns:9.5rem minmax(0,1fr);column-gap:.8rem}
.row.warn{background:var(--tint-warn)}.row.fail{background:var(--tint-fail)}
.name{padding-top:.3rem;line-height:1.2}.name b{font-size:.85rem;margin-right:.3rem}.name code{color:var(--soft);display:inline-block;overflow-wrap:anywhere}
.body{min-width:0;overflow-wrap:anywhere}
.cure{display:block;margin:.35rem 0 .1rem;padding-left:.7rem;border-left:2px solid var(--tone)}
details{margin-top:.25rem}
summary{cursor:pointer;color:var(--soft);font-size:.85rem}
dl{margin:.3rem 0 0;display:grid;grid-template-columns:minmax(0,2fr) minmax(0,3fr);gap:.15rem .8rem}
dt{color:var(--soft)}dd{margin:0;white-space:pre-wrap}
.fold{margin:.45rem 0;background:var(--card);border:1px solid var(--line);border-left:.35rem solid var(--tone);
border-radius:.4rem;padding:.5rem .75rem;break-inside:avoid;overflow-wrap:anywhere}
.fold>summary{color:var(--ink);font-size:1rem}.fold .row{border-width:1px 0 0;border-radius:0;padding:.5rem 0;margin:.5rem 0 0}
figure,.card{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.75rem;margin:.6rem 0;break-inside:avoid;min-width:0}
figcaption{font-size:.85rem;margin-bottom:.4rem}
.charts{margin:.6rem 0;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:.6rem}
.charts figure{margin:0}
svg{display:block;width:100%;height:auto;max-width:34rem}
svg text{font:11px system-ui,-apple-system,"DejaVu Sans",sans-serif;fill:var(--soft)}
.axis{stroke:var(--soft)}.grid{stroke:var(--line);stroke-width:.7}
.bar{fill:var(--c0)}.mark{stroke:var(--c1);stroke-dasharray:3 2}
.curve{fill:none;stroke-width:1.6;stroke-linejoin:round}
.curve0{stroke:var(--c0)}.curve1{stroke:var(--c1)}.curve2{stroke:var(--c2)}.curve3{stroke:var(--c3)}
.rest{stroke:var(--line)}
.curve4{stroke:var(--c4)}.curve5{stroke:var(--c5)}.curve6{stroke:var(--c6)}.curve7{stroke:var(--c7)}
.k0{background:var(--c0)}.k1{background:var(--c1)}.k2{background:var(--c2)}.k3{background:var(--c3)}
.k4{background:var(--c4)}.k5{background:var(--c5)}.k6{background:var(--c6)}.k7{background:var(--c7)}
i.rest{background:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem .9rem;font-size:.85rem;margin:.4rem 0 0;padding:0;list-style:none}
.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;margin-right:.35rem;vertical-align:-.05rem}
.load{display:grid;grid-template-columns:auto minmax(0,1fr) auto;gap:.3rem .6rem;align-items:center;font-size:.85rem;
font-variant-numeric:tabular-nums}
.track{display:flex;height:1.05rem;background:var(--page);border-radius:.2rem;overflow:hidden}
.track i{display:block;min-width:1px}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap}
th{font-weight:500}td.left,th.left{text-align:left}
.figures tr+tr td{border-top:1px solid var(--line)}
.heat td{border:2px solid var(--card);min-width:4.2rem;text-align:center}
.heat.many{table-layout:fixed;font-size:.7rem}.heat.many td,.heat.many th{padding:0 .1rem;line-height:1.2rem;text-align:center}
.heat.many td{border-width:1px;min-width:.95rem;height:1.2rem}.heat.many th.left{padding-right:.5rem;text-align:left}
.self,.none{background-color:var(--line);color:var(--ink)}.self{background-color:transparent;box-shadow:inset 0 0 0 1px var(--line)}
.doubt{background-image:repeating-linear-gradient(45deg,#ffffff80 0 2px,#00000040 2px 4px,transparent 4px 8px)}
.scale{display:grid;grid-template-columns:repeat(5,auto);justify-content:space-between;max-width:26rem;font-size:.8rem;
color:var(--soft);margin-top:.7rem;gap:.2rem 0}
.scale i{grid-column:1/-1;height:.8rem;border-radius:.15rem}
footer{margin:2rem 0 1rem}
@media (max-width:34rem){main{padding:.7rem}dl{grid-template-columns:minmax(0,1fr)}dd{margin:0 0 .3rem .6rem}
.row{grid-template-columns:minmax(0,1fr)}}
@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--pass:#1a7f4b;--warn:#8a5600;
--fail:#b00020;--unknown:#444;--tint-warn:#fff;--tint-fail:#fff;--c0:#2563b8;--c1:#c2570c;--c2:#15803d;--c3:#9333aa;
--c4:#b45365;--c5:#0e7490;--c6:#7a6a00;--c7:#5b6470}
body{font-size:10.5pt}main{max-width:none;padding:0}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
details::details-content{content-visibility:visible;height:auto}summary{list-style:none}h2{break-after:avoid}.wide{overflow:visible}.heat.many{zoom:.62}}
)css";

}  // namespace xenpv::doctor
