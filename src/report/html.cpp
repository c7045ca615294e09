#include "report/html.h"

#include <algorithm>
#include <cctype>

#include "core/format.h"

namespace mara::report {
namespace {

// Colours: Okabe and Ito's palette (jfly.uni-koeln.de/color), which readers with any kind of colour vision can tell
// apart, darker or lighter where a thin line on this background needs it; the yellow is left out.
constexpr const char* kStyle = R"css(
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --edge: #e2e5ea; --text: #1c2330; --soft: #667085; --grid: #eceef2; --mark: #c2410c;
  --key: #0b5cad; --shadow: 0 1px 2px rgba(16, 24, 40, .05);
  --c0: #0072b2; --c1: #d55e00; --c2: #00875f; --c3: #b8528f; --c4: #c98500; --c5: #3f9fd8; --c6: #7a5230; --c7: #5d6470; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0f1217; --card: #171b22; --edge: #272d38; --text: #e6e9ef; --soft: #949eb0; --grid: #222832; --mark: #fb923c;
  --key: #7cc0ff; --shadow: none;
  --c0: #4da6e8; --c1: #ff8a3d; --c2: #2fbf94; --c3: #e58cc0; --c4: #f2b93b; --c5: #9ad4ff; --c6: #c69a74; --c7: #a9b1bf; } }
.c0 { --c: var(--c0) } .c1 { --c: var(--c1) } .c2 { --c: var(--c2) } .c3 { --c: var(--c3) }
.c4 { --c: var(--c4) } .c5 { --c: var(--c5) } .c6 { --c: var(--c6) } .c7 { --c: var(--c7) }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 36px 28px 72px; max-width: 1280px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums }
h1 { margin: 0; font-size: 27px; line-height: 1.25; font-weight: 650; letter-spacing: -.015em; overflow-wrap: anywhere }
h2 { margin: 34px 0 12px; font-size: 17px; font-weight: 640 }
h3 { margin: 0; font-size: 14px; font-weight: 620 }
header p { margin: 5px 0 0; color: var(--soft); overflow-wrap: anywhere }
.note { margin: 14px 0 0; padding: 9px 14px; border-left: 3px solid var(--mark); border-radius: 4px; background: var(--card) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px; margin: 22px 0 0 }
.tile, figure, details, .scroll { background: var(--card); border: 1px solid var(--edge); border-radius: 10px;
  box-shadow: var(--shadow) }
.tile { padding: 12px 16px 13px }
.tile span { display: block; color: var(--soft); font-size: 13px }
.tile b { display: block; font-size: 22px; line-height: 1.3; font-weight: 620; letter-spacing: -.01em }
.runs { display: flex; flex-wrap: wrap; gap: 8px; position: sticky; top: 0; z-index: 2; margin: 16px -8px 0; padding: 8px;
  background: var(--page) }
.runs button { font: inherit; font-size: 13.5px; color: var(--text); background: var(--card); border: 1px solid var(--edge);
  border-radius: 99px; padding: 4px 13px; cursor: pointer; max-width: 100%; overflow-wrap: anywhere }
.runs button[aria-pressed="false"] { opacity: .42; text-decoration: line-through }
.runs button:focus-visible, summary:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px }
.key::before, .runs button::before { content: ""; display: inline-block; width: 15px; height: 3px; border-radius: 2px;
  margin-right: 7px; vertical-align: middle; background: var(--c) }
.dashed::before { background: repeating-linear-gradient(90deg, var(--c) 0 4px, transparent 4px 6px) !important }
.key.marks::before { width: 2px; height: 9px; background: var(--mark) }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin-top: 20px }
figure { margin: 0; padding: 14px 16px 8px; overflow-x: auto; min-width: 0 }
figure.wide { grid-column: 1 / -1 }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 20px; align-items: baseline; margin-bottom: 6px }
figcaption small { color: var(--soft); font-size: 12.5px }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin-left: auto; font-size: 13px; color: var(--soft) }
svg { display: block; width: 100%; height: auto; overflow: visible; touch-action: pan-y }
svg text { font-size: 11.5px; fill: var(--soft) }
.grid path { stroke: var(--grid) }
.axis path { stroke: var(--edge); fill: none }
text.x { text-anchor: middle } text.y { text-anchor: end }
.line path { fill: none; stroke: var(--c); stroke-linejoin: round; stroke-linecap: round }
.line .course { stroke-width: 1.9 } .line .raw { stroke-width: 1; opacity: .27 }
.several .raw { opacity: .15 }
.line.dashed .course { stroke-dasharray: 6 3 }
.line circle { fill: var(--card); stroke: var(--c); stroke-width: 1.6 }
.line .whisker { stroke-width: 1.2; opacity: .65 }
.mark { stroke: var(--mark); stroke-width: 1.5 }
.pointer line { stroke: var(--soft); stroke-dasharray: 3 3; opacity: .8 }
.pointer circle { fill: var(--c); stroke: var(--card); stroke-width: 1.5 }
.off { display: none }
#tip { position: absolute; z-index: 3; pointer-events: none; padding: 7px 11px; border-radius: 8px; font-size: 13px;
  line-height: 1.45; background: var(--card); border: 1px solid var(--edge); box-shadow: 0 5px 18px rgba(0, 0, 0, .16);
  max-width: 340px }
#tip[hidden] { display: none }
#tip b { font-weight: 620 } #tip small { color: var(--soft) }
#tip div { display: flex; gap: 4px 12px; align-items: baseline }
#tip div span:first-child { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 14px }
th, td { padding: 8px 14px; text-align: right; vertical-align: baseline; white-space: nowrap; border-top: 1px solid var(--edge) }
thead th { border-top: 0; min-width: 92px; white-space: normal; vertical-align: bottom; color: var(--soft); font-weight: 500; font-size: 13px }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card) } tbody th { font-weight: 560 }
td small, th small { color: var(--soft); font-weight: 400 }
.texts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin-top: 16px; align-items: start }
details { min-width: 0 } details.whole { grid-column: 1 / -1 }
summary { padding: 11px 16px; cursor: pointer; font-weight: 600; font-size: 14px; overflow-wrap: anywhere }
pre { margin: 0; padding: 4px 16px 14px; overflow: auto; max-height: 560px;
  font: 12.5px/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere }
pre i { font-style: normal; color: var(--key) }
@media (max-width: 860px) { body { padding: 22px 14px 48px } .charts, .texts { grid-template-columns: minmax(0, 1fr) }
  svg { min-width: 420px } figure.wide svg { min-width: 820px } }
@media print { body { max-width: none } .runs { position: static } figure, .tile { break-inside: avoid } }
)css";

// Values under the pointer: the nearest shown step of every line, with the range of all steps of that pixel.
constexpr const char* kScript = R"js(//<![CDATA[
(() => {
  const tip = document.getElementById('tip');
  const numbers = text => text ? text.split(' ').map(Number) : [];
  const short = v => Number(v.toPrecision(4)).toLocaleString('en', {maximumSignificantDigits: 4});
  const make = (name, attributes, parent) => {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };
  const nearest = (sorted, value) => {
    let low = 0, high = sorted.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1; else high = middle;
    }
    return low > 0 && value - sorted[low - 1] < sorted[low] - value ? low - 1 : low;
  };
  const write = (parent, tag, text) => {
    const made = document.createElement(tag);
    made.textContent = text;
    parent.append(made);
    return made;
  };
  for (const svg of document.querySelectorAll('figure svg')) {
    const [left, right, begin, end, logarithmicSteps] = numbers(svg.dataset.x);
    const [bottom, top, low, high, logarithmic] = numbers(svg.dataset.y);
    const scale = logarithmic ? Math.log10 : v => v;
    const scaleX = logarithmicSteps ? Math.log : v => v, unscaleX = logarithmicSteps ? Math.exp : v => v;
    const atX = step => left + (scaleX(step) - scaleX(begin)) / (scaleX(end) - scaleX(begin)) * (right - left);
    const atY = v => bottom + (scale(v) - scale(low)) / (scale(high) - scale(low)) * (top - bottom);
    const layer = svg.querySelector('.pointer');
    let lines;
    const show = event => {
      lines ??= [...svg.querySelectorAll('.line')].map(line => ({line, steps: numbers(line.dataset.steps),
        values: numbers(line.dataset.values), lows: numbers(line.dataset.lows), highs: numbers(line.dataset.highs)}));
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      const wanted = unscaleX(scaleX(begin) + (x - left) / (right - left) * (scaleX(end) - scaleX(begin)));
      const found = lines.filter(l => l.steps.length > 0 && !l.line.classList.contains('off'))
        .map(l => ({...l, i: nearest(l.steps, wanted)}));
      if (found.length === 0) return hide();
      const off = l => Math.abs(l.steps[l.i] - wanted);
      const step = found.reduce((a, b) => off(b) < off(a) ? b : a);
      const at = step.steps[step.i];
      layer.replaceChildren();
      tip.replaceChildren();
      make('line', {x1: atX(at), x2: atX(at), y1: top, y2: bottom}, layer);
      write(write(tip, 'div', ''), 'small', svg.dataset.of + ' ' + at.toLocaleString('en', {maximumSignificantDigits: 15}));
      for (const {line, steps, values, lows, highs, i} of found) {
        if (Math.abs(atX(steps[i]) - atX(at)) > 40) continue;
        const colour = [...line.classList].find(name => /^c\d$/.test(name));
        make('circle', {cx: atX(steps[i]), cy: atY(values[i]), r: 4, class: colour}, layer);
        const row = write(tip, 'div', '');
        write(row, 'span', line.dataset.name).className = 'key ' + colour + (line.classList.contains('dashed') ? ' dashed' : '');
        write(row, 'b', short(values[i]) + svg.dataset.unit);
        if (lows.length > 0) {
          const ends = [short(lows[i]), short(highs[i])];
          write(row, 'small', svg.dataset.range + ' ' + [...new Set(ends)].join(' to '));
        }
      }
      tip.hidden = false;
      const beyond = event.clientX + 24 + tip.offsetWidth > document.documentElement.clientWidth;
      tip.style.left = Math.max(4, event.pageX + (beyond ? -18 - tip.offsetWidth : 18)) + 'px';
      tip.style.top = event.pageY + 14 + 'px';
    };
    const hide = () => {
      layer.replaceChildren();
      tip.hidden = true;
    };
    svg.addEventListener('pointermove', show);
    svg.addEventListener('pointerdown', show);
    svg.addEventListener('pointerleave', hide);
  }
  for (const button of document.querySelectorAll('.runs button')) {
    button.addEventListener('click', () => {
      const on = button.getAttribute('aria-pressed') === 'false';
      button.setAttribute('aria-pressed', on);
      for (const line of document.querySelectorAll(`.line[data-line="${button.dataset.line}"]`)) {
        line.classList.toggle('off', !on);
      }
    });
  }
})();
//]]>)js";

std::string picture_of(char control) {
  const int code = control == 127 ? 0x21 : control;
  return {'\xE2', '\x90', static_cast<char>(0x80 + code)};  // U+2400 + code
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    const char c = text[0];
    if (length == 0) {
      out += "\xEF\xBF\xBD";
    } else if (length > 1) {
      out += text.substr(0, length);
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if ((c >= 0 && c < 32 && c != '\n' && c != '\t') || c == 127) {
      out += picture_of(c);
    } else {
      out += c;
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string marked_yaml(std::string_view text) {
  const auto in_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  const auto is_one_of = [&](size_t i, std::string_view set) {
    return i >= text.size() || set.find(text[i]) != set.npos;
  };
  std::string out;
  for (size_t i = 0; i < text.size();) {  // words and what is between them in turn
    const bool word = in_word(text[i]);
    const auto* const end = std::find_if(text.begin() + i, text.end(), [&](char c) { return in_word(c) != word; });
    const size_t after = static_cast<size_t>(end - text.begin());
    const bool key = word && after < text.size() && text[after] == ':' && is_one_of(after + 1, " \n") &&
                     (i == 0 || is_one_of(i - 1, " \n{,"));
    const std::string piece = escape(text.substr(i, after - i));
    out += key ? "<i>" + piece + "</i>" : piece;
    i = after;
  }
  return out;
}

std::string table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (const std::string& heading : headings) out += "<th>" + heading + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) out += i == 0 ? "<th>" + row[i] + "</th>" : "<td>" + row[i] + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string folding(const std::string& title, const std::string& body, bool open) {
  return std::string("<details") + (open ? " open=\"open\"" : "") + "><summary>" + escape(title) + "</summary>" + body +
         "</details>\n";
}

std::string page(const std::string& title, const std::string& body) {
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
         "script-src 'unsafe-inline'\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
         "<title>" +
         escape(title) + "</title>\n<style>" + kStyle + "</style></head>\n<body>\n" + body +
         "<div id=\"tip\" hidden=\"hidden\"></div>\n<script>" + kScript + "</script>\n</body></html>\n";
}

}  // namespace mara::report
