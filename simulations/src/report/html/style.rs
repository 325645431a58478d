//! How the page looks, in the reader's light or dark.

/// The style sheet. No `<` and no `&`: it stands in markup as it is.
pub(super) const STYLE: &str = "
:root { --page: #f6f7f9; --card: #ffffff; --ink: #1c2430; --soft: #5b6675; --line: #e1e5ea; --good: #1a7f4b;
  --bad: #c62839; --goodbg: #dff3e7; --badbg: #fbe3e5; --up: #bfe3cd; --cut: #8fb4ea; --odd: #cdb4ec; --paused: #f0b64f; --down: #3d4654;
  --band: rgba(76, 126, 214, 0.10); --fault: #e6d9f5; --faultcut: #cfdef7; --mean: #2463c4; --state: #1f9d74;
  --a0: #3b6fd4; --a1: #d9662b; --a2: #2a9d6e; --a3: #b63a8d; --a4: #8a6d1d; --a5: #6a51c9; --a6: #1c8ea3; --a7: #a33b3b; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1a2029; --ink: #e5eaf1; --soft: #97a3b3; --line: #2c3541; --good: #5fd394;
    --bad: #ff7d89; --goodbg: #17382a; --badbg: #45202a; --up: #2c5a43; --cut: #3f69ad; --odd: #6b549c; --paused: #b98324; --down: #cbd3de;
    --band: rgba(110, 156, 240, 0.12); --fault: #40345a; --faultcut: #2a4066; --mean: #79a9f7; --state: #58d3a7;
    --a0: #79a9f7; --a1: #f59a68; --a2: #58d3a7; --a3: #ea86c8; --a4: #d8b75a; --a5: #a994f5; --a6: #5fc7dc; --a7: #ee8585; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 8px; overflow-wrap: anywhere; }
h3 { font-size: 15px; margin: 18px 0 6px; }
.kind { margin: 0; color: var(--soft); font-size: 13px; letter-spacing: 0.04em; text-transform: uppercase; }
.badge { display: inline-block; border-radius: 999px; padding: 1px 10px; font-size: 13px; font-weight: 600; vertical-align: middle; }
.good { color: var(--good); background: var(--goodbg); }
.bad { color: var(--bad); background: var(--badbg); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 18px 0; }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 12px 16px; display: flex; flex-direction: column; }
.tile span, .tile i { color: var(--soft); font-size: 13px; font-style: normal; }
.tile b { font-size: 22px; font-variant-numeric: tabular-nums; }
section { padding: 18px 20px; margin: 16px 0; }
.failure { border-left: 5px solid var(--bad); }
.failure p { margin: 4px 0; overflow-wrap: anywhere; }
.about { color: var(--soft); max-width: 80ch; margin: 4px 0 10px; }
.violations { padding-left: 20px; overflow-wrap: anywhere; }
code { font: 13px ui-monospace, 'SF Mono', Menlo, Consolas, monospace; background: var(--page); border: 1px solid var(--line);
  border-radius: 5px; padding: 1px 5px; overflow-wrap: anywhere; }
pre { font: 12px/1.55 ui-monospace, Menlo, Consolas, monospace; overflow-x: auto; background: var(--page); padding: 12px; border-radius: 8px; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: 13px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.never td { color: var(--soft); font-style: italic; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 8px 40px; }
.small { color: var(--soft); font-size: 13px; }
.key { font-size: 13px; color: var(--soft); margin: 4px 0; }
.key span { margin-right: 12px; white-space: nowrap; }
.key .apart { margin-left: 12px; }
.sw { display: inline-block; width: 14px; height: 9px; border-radius: 2px; margin-right: 5px; }
a { color: var(--mean); }
svg { display: block; width: 100%; min-width: 760px; height: auto; }
svg text { fill: var(--ink); font-size: 12px; font-family: system-ui, -apple-system, 'Segoe UI', sans-serif; }
svg .title { font-weight: 600; font-size: 13px; }
svg .legend, svg .tick { fill: var(--soft); font-size: 11.5px; }
svg .end { text-anchor: end; }
svg .mid { text-anchor: middle; }
svg .site { font-weight: 600; }
svg .node { font-size: 11.5px; }
svg .faultname { font-size: 10.5px; }
line.grid { stroke: var(--line); stroke-width: 1; }
line.siteline { stroke: var(--soft); stroke-opacity: 0.35; stroke-width: 1; }
line.rest { stroke: var(--soft); stroke-dasharray: 2 4; }
svg .wrong { fill: var(--bad); font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
rect.cutband { fill: var(--band); }
rect.fault { fill: var(--fault); rx: 3px; }
rect.cuts { fill: var(--faultcut); }
rect.up { fill: var(--up); } rect.odd { fill: var(--odd); } rect.cut { fill: var(--cut); } rect.paused { fill: var(--paused); } rect.down { fill: var(--down); }
i.up { background: var(--up); } i.odd { background: var(--odd); } i.cut { background: var(--cut); } i.paused { background: var(--paused); } i.down { background: var(--down); }
rect.app0 { fill: var(--a0); } rect.app1 { fill: var(--a1); } rect.app2 { fill: var(--a2); } rect.app3 { fill: var(--a3); }
rect.app4 { fill: var(--a4); } rect.app5 { fill: var(--a5); } rect.app6 { fill: var(--a6); } rect.app7 { fill: var(--a7); }
i.app0 { background: var(--a0); } i.app1 { background: var(--a1); } i.app2 { background: var(--a2); } i.app3 { background: var(--a3); }
i.app4 { background: var(--a4); } i.app5 { background: var(--a5); } i.app6 { background: var(--a6); } i.app7 { background: var(--a7); }
rect.violation { fill: var(--bad); }
path { fill: none; stroke-width: 1.6; }
.busiest { stroke: var(--soft); stroke-dasharray: 3 3; } .mean, .running { stroke: var(--mean); } .state { stroke: var(--state); }
.parts { stroke: var(--bad); }
path.area { fill: var(--state); fill-opacity: 0.18; stroke: none; }
line.stem { stroke: var(--mean); stroke-width: 2; }
circle.heal { fill: var(--mean); }
circle.open { fill: none; stroke: var(--soft); stroke-width: 1.5; }
@media print { body { background: #ffffff; } section { break-inside: avoid-page; } }
";
