// The page of one month's effects: draws what is in #data, and keeps what is chosen in the fragment:
// #neighborhood=<name>&estimator=<name>&k=<controls>&pair=<record id>. A fragment without "=" is a
// part of the page. Ratings live in the page's memory until they are saved as a file.
// Every text of a case goes into the page by textContent; nothing of it is ever read as HTML.
"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const CASES = DATA.cases;
  const PAIRS = DATA.pairs;
  const NO_VALUE = "–";
  const RESULTS = [["match", "Match"], ["partly", "Partly"], ["no", "No match"]];
  const LONGER = "#D55E00";
  const SHORTER = "#0072B2";
  const GREY = "#6d727a";
  const FAINT = "#a3a9b2";
  const ROW_HEIGHT = 24;
  const NAME_LETTERS = 30;
  const DISPARITY = "adjusted disparity, not the effect of a treatment anyone assigned";
  const CONFIG = {displaylogo: false, responsive: true, displayModeBar: false, scrollZoom: false};

  const byId = (id) => document.getElementById(id);
  const whole = (value) => value.toLocaleString("en");
  const isNumber = (value) => typeof value === "number";
  const digits = (value) => (Math.abs(value) < 99.95 ? 1 : 0);
  // Nothing is minus zero once it is rounded.
  const fixed = (value, places) => (isNumber(value)
    ? value.toFixed(places).replace(/^-(?=[0.]*$)/, "").replace("-", "−") : NO_VALUE);
  const plain = (value) => (isNumber(value) ? fixed(value, digits(value)) : NO_VALUE);
  const signed = (value) => (isNumber(value) ? `${value > 0 && Number(value.toFixed(digits(value))) ? "+" : ""}${plain(value)}` : NO_VALUE);
  const chance = (value) => {
    if (!isNumber(value)) return NO_VALUE;
    return value < 0.001 ? "< 0.001" : value.toFixed(3);
  };
  const percent = (value) => (isNumber(value) ? `${(100 * value).toFixed(1)} %` : NO_VALUE);
  const count = (value) => (isNumber(value) ? whole(value) : NO_VALUE);
  const hours = (value) => {
    if (!isNumber(value)) return NO_VALUE;
    const days = value < 48 ? "" : ` (${(value / 24).toFixed(1)} d)`;
    return `${value < 1 ? "< 1" : whole(Math.round(value))} h${days}`;
  };
  const interval = (row) => `${plain(row.low)} to ${plain(row.high)}`;
  const short = (text, length) => {
    const letters = Array.from(text);
    return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : text;
  };
  // Plotly reads a little markup in texts: a name is shown letter by letter.
  const label = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) || [];

  function el(tag, properties, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name === "onclick" || name === "onchange") made.addEventListener(name.slice(2), value);
      else if (name in made && typeof value !== "object") made[name] = value;
      else made.setAttribute(name, value);
    }
    for (const child of children) {
      if (child !== null) made.append(child);
    }
    return made;
  }

  function link(address, text) {
    let url;
    try {
      url = new URL(address);
    } catch {
      return null;
    }
    if (url.protocol !== "http:" && url.protocol !== "https:") return null;
    return el("a", {href: url.href, target: "_blank", rel: "noopener noreferrer"}, text);
  }

  const facts = (rows) => el("dl", {className: "facts"},
    ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

  // ---- What there is

  const HEADLINE = DATA.att.filter((row) => row.is_headline);
  const headlineOf = new Map(HEADLINE.map((row) => [row.neighborhood, row]));
  const sensitivityOf = new Map(DATA.sensitivity.map((row) => [row.neighborhood, row]));
  const NAMES = [...new Set([...DATA.att, ...DATA.balance].map((row) => row.neighborhood))]
    .sort((a, b) => a.localeCompare(b));
  const rowsOf = (estimator, k) => DATA.att.filter((row) => row.estimator === estimator && row.k === k);
  const ksOf = (estimator) => [...new Set(DATA.att.filter((row) => row.estimator === estimator)
    .map((row) => row.k))].sort((a, b) => a - b);
  const hasInterval = (row) => Boolean(row) && isNumber(row.att_hours) && isNumber(row.low) && isNumber(row.high);
  const isSure = (row) => isNumber(row.q) && row.q < DATA.significant_below;
  const [QUOTED] = [...HEADLINE, ...DATA.att];
  const IMBALANCE = DATA.imbalanced_from;
  const imbalanced = (name) => DATA.balance
    .filter((row) => row.neighborhood === name && Math.abs(row.smd_after) > IMBALANCE)
    .sort((a, b) => Math.abs(b.smd_after) - Math.abs(a.smd_after));
  // As far from balance as its farthest covariate is.
  const worst = (name) => DATA.balance
    .filter((row) => row.neighborhood === name && isNumber(row.smd_after))
    .reduce((most, row) => Math.max(most ?? 0, Math.abs(row.smd_after)), null);

  const state = {
    neighborhood: null, estimator: QUOTED.estimator, k: QUOTED.k, isEvery: false,
    pair: null, order: [], place: 0, sorted: {},
  };

  // ---- Tables

  // A column: name, heading, what it is, text, value it is sorted by, and whether it is words.
  function table(id, caption, columns, rows, options = {}) {
    const by = state.sorted[id] || {};
    const sorted = [...rows];
    const column = columns.find((one) => one.name === by.name);
    if (column) {
      sorted.sort((a, b) => {
        const [first, second] = [column.value(a), column.value(b)];
        if (first === null || second === null) return (first === null) - (second === null);
        const order = typeof first === "string" ? first.localeCompare(second) : first - second;
        return by.down ? -order : order;
      });
    }
    const heads = columns.map((one) => {
      const isSorted = one.name === by.name;
      const arrow = isSorted ? (by.down ? " ↓" : " ↑") : "";
      return el("th", {
        scope: "col", className: one.isText ? "text" : "",
        "aria-sort": isSorted ? (by.down ? "descending" : "ascending") : "none",
      }, el("button", {
        type: "button", title: one.doc || "", "data-column": one.name,
        onclick: () => {
          state.sorted[id] = {name: one.name, down: isSorted ? !by.down : !one.isText};
          table(id, caption, columns, rows, options);
          byId(id).querySelector(`[data-column="${one.name}"]`).focus();
        },
      }, one.head + arrow));
    });
    const body = sorted.map((row) => el("tr", {
      className: options.isChosen && options.isChosen(row) ? "chosen" : "",
    }, ...columns.map((one, place) => (place
      ? el("td", {className: [one.isText ? "text" : "", one.isOff && one.isOff(row) ? "off" : ""].join(" ").trim()}, one.text(row))
      : el("th", {scope: "row"}, one.text(row))))));
    byId(id).replaceChildren(el("table", {}, el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body)));
  }

  const said = (name, head, doc = "") => ({
    name, head, doc, isText: true, text: (row) => row[name] || NO_VALUE, value: (row) => row[name] || null,
  });
  const number = (name, head, text, doc = "", isOff = null) => ({
    name, head, doc, isText: false, isOff, text: (row) => text(row[name]), value: (row) => row[name] ?? null,
  });

  // ---- Effects

  function forestRows() {
    const chosen = new Map(rowsOf(state.estimator, state.k).map((row) => [row.neighborhood, row]));
    const isHeadline = QUOTED.estimator === state.estimator && QUOTED.k === state.k;
    // The order is the headline's, so that rows stay where they are while estimators change.
    const rank = (name) => (hasInterval(headlineOf.get(name)) ? headlineOf : chosen).get(name).att_hours;
    const names = NAMES.filter((name) => hasInterval(chosen.get(name)) || hasInterval(headlineOf.get(name)));
    names.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    return {chosen, names, isHeadline};
  }

  function drawForest() {
    const {chosen, names, isHeadline} = forestRows();
    const drawn = names.filter((name) => hasInterval(chosen.get(name)));
    const place = new Map(names.map((name, i) => [name, i]));
    const title = `${state.estimator}, k = ${state.k}`;
    byId("forest").hidden = !names.length;
    const traces = [];
    const bars = (rows, shift, more) => ({
      type: "scatter", mode: "markers", hoverinfo: "text", cliponaxis: false,
      x: rows.map((row) => row.att_hours), y: rows.map((row) => place.get(row.neighborhood) + shift),
      customdata: rows.map((row) => row.neighborhood),
      hovertext: rows.map((row) => label(`${row.neighborhood}: ${signed(row.att_hours)} h (${interval(row)}), q ${chance(row.q)}`)),
      error_x: {
        type: "data", symmetric: false, thickness: 1.6, width: 4, color: more.colour,
        array: rows.map((row) => row.high - row.att_hours), arrayminus: rows.map((row) => row.att_hours - row.low),
      },
      marker: {color: more.colour, size: more.size, symbol: more.symbol, line: {width: 1.6, color: more.colour}},
      name: more.name,
    });
    if (!isHeadline) {
      const rows = names.map((name) => headlineOf.get(name)).filter(hasInterval);
      if (rows.length) {
        traces.push(bars(rows, 0.24, {colour: FAINT, size: 6, symbol: "circle", name: `headline: ${QUOTED.estimator}, k = ${QUOTED.k}`}));
      }
    }
    const shift = isHeadline ? 0 : -0.14;
    const groups = [
      [`longer, q < ${DATA.significant_below}`, LONGER, "square", (row) => isSure(row) && row.att_hours > 0],
      [`shorter, q < ${DATA.significant_below}`, SHORTER, "diamond", (row) => isSure(row) && row.att_hours <= 0],
      ["could be chance", GREY, "circle-open", (row) => !isSure(row) && isNumber(row.q)],
      ["not tested", GREY, "x-thin", (row) => !isNumber(row.q)],
    ];
    for (const [name, colour, symbol, isIn] of groups) {
      const rows = drawn.map((one) => chosen.get(one)).filter(isIn);
      if (rows.length) traces.push(bars(rows, shift, {colour, size: 9, symbol, name}));
    }
    const texts = (x, anchor, text) => ({
      type: "scatter", mode: "text", xaxis: "x2", hoverinfo: "skip", showlegend: false,
      x: names.map(() => x), y: names.map((_, i) => i), textposition: anchor, textfont: {size: 11.5},
      text: names.map((name) => (chosen.has(name) ? text(chosen.get(name)) : NO_VALUE)),
    });
    traces.push(
      texts(0.43, "middle left", (row) => (hasInterval(row) ? `${signed(row.att_hours)} (${interval(row)})` : "no interval")),
      texts(0.62, "middle left", (row) => chance(row.q)),
      texts(0.99, "middle left", (row) => `${count(row.n_matched)} / ${count(row.n_treated)}`),
    );
    const heads = [[0.43, "hours (95 %)"], [0.62, "q"], [0.99, "matched / cases"]].map(([x, text]) => ({
      xref: "x2", yref: "paper", x, y: 1, yshift: 12, xanchor: "right", yanchor: "bottom", text,
      showarrow: false, font: {size: 11.5, color: "#4a4f57"},
    }));
    const at = place.get(state.neighborhood);
    const band = at === undefined ? [] : [{
      type: "rect", xref: "paper", yref: "y", x0: 0, x1: 1, y0: at - 0.5, y1: at + 0.5, layer: "below",
      fillcolor: "#dfeaf5", line: {width: 0},
    }];
    const layout = {
      height: 136 + ROW_HEIGHT * Math.max(names.length, 1), hovermode: "closest",
      margin: {l: 8, r: 8, t: 62, b: 56}, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
      font: {color: "#1b1b1b", size: 12},
      legend: {orientation: "h", x: 0, y: 1, yref: "paper", yanchor: "bottom", xanchor: "left", font: {size: 11.5}},
      xaxis: {
        domain: [0, 0.6], zeroline: false, gridcolor: "#eceef1", automargin: true,
        title: {text: "hours more than like cases elsewhere (adjusted disparity)", font: {size: 12}},
      },
      xaxis2: {domain: [0.61, 1], range: [0, 1], visible: false, fixedrange: true},
      yaxis: {
        range: [-0.6, names.length - 0.4], tickvals: names.map((_, i) => i), automargin: true,
        ticktext: names.map((name) => label(short(name, NAME_LETTERS)) + (chosen.get(name)?.is_contradicted ? " ≠" : "")),
        showgrid: false, zeroline: false, fixedrange: true, ticks: "", tickfont: {size: 12},
      },
      dragmode: false,
      shapes: [...band, {type: "line", xref: "x", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1, layer: "below", line: {color: "#1b1b1b", width: 1}}],
      annotations: heads,
    };
    layout.legend.y = 1 + 30 / (layout.height - 118);
    byId("forest").setAttribute("aria-label",
      `Forest plot of ${drawn.length} neighbourhoods by ${title}; the same numbers are in the table below`);
    document.documentElement.dataset.drawn = String(drawn.length);
    return names.length ? Plotly.react("forest", traces, layout, CONFIG) : Promise.resolve();
  }

  function writeUndrawn() {
    const rows = rowsOf(state.estimator, state.k).filter((row) => !hasInterval(row));
    const absent = NAMES.filter((name) => !rowsOf(state.estimator, state.k).some((row) => row.neighborhood === name));
    const listed = [...rows, ...absent.map((name) => ({neighborhood: name, reason: "not estimated this way"}))];
    if (!listed.length) {
      byId("undrawn").replaceChildren();
      return;
    }
    listed.sort((a, b) => a.neighborhood.localeCompare(b.neighborhood));
    const heading = `Not drawn: ${whole(listed.length)} without an interval, which is not a difference of zero`;
    byId("undrawn").replaceChildren(el("h3", {}, heading), el("div", {id: "undrawn-table", className: "scroll"}));
    table("undrawn-table", "Raw numbers, adjusted disparity in hours: too uncertain to be drawn.", [
      said("neighborhood", "Neighborhood"), said("reason", "Reason"),
      number("att_hours", "Hours", signed), number("n_matched", "Matched", count),
      number("n_treated", "Cases", count),
    ], listed, {isChosen: (row) => row.neighborhood === state.neighborhood});
  }

  function writeSwitches() {
    const radio = (group, value, text, isChecked, isAbsent, choose) => el("label",
      {className: isAbsent ? "absent" : ""},
      el("input", {type: "radio", name: group, value: String(value), checked: isChecked, disabled: isAbsent, onchange: choose}), text);
    byId("estimators").replaceChildren(...DATA.estimators.map(({name}) => radio("estimator", name,
      name === QUOTED.estimator ? `${name} (headline)` : name, name === state.estimator, false, () => {
        const ks = ksOf(name);
        state.estimator = name;
        if (!ks.includes(state.k)) state.k = ks.includes(QUOTED.k) ? QUOTED.k : ks[0];
        render();
        byId("estimators").querySelector("input:checked").focus();
      })));
    const all = [...new Set(DATA.att.map((row) => row.k))].sort((a, b) => a - b);
    const here = ksOf(state.estimator);
    byId("ks").replaceChildren(...all.map((k) => radio("k", k, k ? `k = ${k}` : "none matched",
      k === state.k, !here.includes(k), () => {
        state.k = k;
        render();
        byId("ks").querySelector("input:checked").focus();
      })));
    const is = DATA.estimators.find((one) => one.name === state.estimator);
    const isQuoted = state.estimator === QUOTED.estimator && state.k === QUOTED.k;
    byId("estimator-words").textContent = [
      `${is.name}: ${is.words}.`, isQuoted ? "" : "Not the headline: that is drawn in grey above each.",
      rowsOf(state.estimator, state.k).some((row) => row.is_contradicted) ? "≠ marks those whose cross-check aipw is further away than their joint error." : "",
    ].filter((text) => text).join(" ");
  }

  function writeSummary() {
    const sure = HEADLINE.filter((row) => hasInterval(row) && isSure(row)).sort((a, b) => b.att_hours - a.att_hours);
    const tested = HEADLINE.filter(hasInterval).length;
    const list = sure.map((row) => `${row.neighborhood} ${signed(row.att_hours)} h`).join(", ");
    byId("summary").textContent = !HEADLINE.length ? "This month has no headline estimate."
      : `By the headline, ${sure.length} of ${tested} neighbourhoods with an interval differ from like cases `
      + `elsewhere at q < ${DATA.significant_below}${list ? `: ${list}` : ""}. Hours are min(T, ${DATA.limit_hours} h).`;
  }

  function writeCard() {
    const name = state.neighborhood;
    const row = rowsOf(state.estimator, state.k).find((one) => one.neighborhood === name);
    const trust = sensitivityOf.get(name);
    const off = imbalanced(name);
    const parts = [el("h3", {}, name), el("p", {className: "quiet"}, `${state.estimator}, k = ${state.k}; ${DISPARITY}`)];
    if (!row) parts.push(el("p", {className: "warning"}, "Not estimated this way."));
    else {
      if (hasInterval(row)) {
        parts.push(el("p", {className: "figure"}, `${signed(row.att_hours)} h `, el("small", {}, `95 % interval ${interval(row)}`)));
      } else {
        parts.push(el("p", {className: "warning"},
          `No interval: ${row.reason || "no reason is said"}. Raw number: ${signed(row.att_hours)}${isNumber(row.att_hours) ? " h" : ""}.`));
      }
      parts.push(facts([
        ["q / p", `${chance(row.q)} / ${chance(row.p)}`],
        ["p, signs flipped", chance(row.p_randomization)],
        ["Matched", `${count(row.n_matched)} of ${count(row.n_treated)} cases (${percent(row.share_on_support)})`],
        ["Controls used", `${count(row.n_controls_used)}, worth ${isNumber(row.effective_controls) ? Math.round(row.effective_controls) : NO_VALUE} equal ones`],
        ["Mean similarity", fixed(row.mean_similarity, 2)],
        ["Its cases took", isNumber(row.mean_restricted_hours) ? `${plain(row.mean_restricted_hours)} h on average, at most ${DATA.limit_hours}` : NO_VALUE],
      ]));
      if (row.is_contradicted) {
        parts.push(el("p", {className: "warning"}, "≠ The cross-check aipw disagrees by more than their joint error: do not quote one alone."));
      }
    }
    if (off.length) {
      parts.push(el("p", {className: "warning"}, `After matching ${off.length} ${off.length === 1 ? "covariate is" : "covariates are"} still out of balance: see Balance.`));
    }
    if (trust) {
      parts.push(facts([
        ["Headline over k, calipers", isNumber(trust.lowest_att_hours)
          ? `${signed(trust.lowest_att_hours)} to ${signed(trust.highest_att_hours)} h in ${trust.choices} choices, ${trust.is_sign_stable ? "one sign" : "both signs"}` : NO_VALUE],
        ["Its Rosenbaum's Γ", fixed(trust.rosenbaum_gamma, 2)], ["Its E-value", fixed(trust.e_value, 2)],
      ]));
    }
    byId("card").replaceChildren(...parts);
  }

  // ---- Balance

  function writeBalance() {
    const rows = DATA.balance.filter((row) => row.neighborhood === state.neighborhood);
    const off = imbalanced(state.neighborhood);
    const unknown = rows.filter((row) => !isNumber(row.smd_after));
    const list = off.map((row) => `${row.covariate} (${fixed(Math.abs(row.smd_after), 2)})`).join(", ");
    const ratios = rows.filter((row) => isNumber(row.variance_ratio_after)
      && (row.variance_ratio_after < 0.5 || row.variance_ratio_after > 2)).map((row) => row.covariate);
    const parts = [el("p", {}, el("strong", {}, state.neighborhood),
      ": standardized mean differences between its cases and those they are compared with, before and after matching.")];
    if (!rows.length) parts.push(el("p", {className: "warning"}, "Balance of this neighbourhood is not known: nothing of it was matched."));
    else if (off.length) {
      parts.push(el("p", {className: "warning"}, `Out of balance after matching, |SMD| above ${IMBALANCE}: ${list}. `
        + "What is left of these differences may be in the estimate; the headline corrects for it as far as its regression can."));
    } else if (unknown.length < rows.length) {
      parts.push(el("p", {className: "fine"}, `All ${rows.length - unknown.length} covariates with a difference are within ${IMBALANCE} after matching.`));
    }
    if (ratios.length) parts.push(el("p", {className: "quiet"}, `Variance more than twice or less than half that of the controls: ${ratios.join(", ")}.`));
    if (unknown.length) parts.push(el("p", {className: "quiet"}, `No difference is defined after matching for: ${unknown.map((row) => row.covariate).join(", ")}.`));
    byId("balance-words").replaceChildren(...parts);
    const smd = (name, head, isOff = null) => number(name, head, (value) => fixed(value, 2), "", isOff);
    const mean = (name, head) => number(name, head, (value) => (isNumber(value) ? String(Number(value.toPrecision(4))) : NO_VALUE));
    table("balance-table", `Balance of ${state.neighborhood}; after matching above ${IMBALANCE} is marked.`, [
      said("covariate", "Covariate"),
      smd("smd_before", "SMD before"), smd("smd_after", "after", (row) => Math.abs(row.smd_after) > IMBALANCE),
      smd("variance_ratio_before", "Variance ratio before"), smd("variance_ratio_after", "after"),
      mean("mean_treated", "Mean here"), mean("mean_controls", "elsewhere"), mean("mean_matched", "matched"),
    ], rows);
    return drawLove(rows);
  }

  function drawLove(rows) {
    const known = rows.filter((row) => isNumber(row.smd_before) || isNumber(row.smd_after));
    known.sort((a, b) => Math.abs(a.smd_before ?? 0) - Math.abs(b.smd_before ?? 0) || b.covariate.localeCompare(a.covariate));
    byId("love").hidden = !known.length;
    document.documentElement.dataset.covariates = String(known.length);
    if (!known.length) return Promise.resolve();
    const dots = (name, column, marker) => {
      const there = known.map((row, i) => [row, i]).filter(([row]) => isNumber(row[column]));
      return {
        type: "scatter", mode: "markers", name, marker, hoverinfo: "text", cliponaxis: false,
        x: there.map(([row]) => Math.abs(row[column])), y: there.map(([, i]) => i),
        hovertext: there.map(([row]) => label(`${row.covariate}: ${fixed(row[column], 3)} ${name}`)),
      };
    };
    const lines = {
      type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, line: {color: "#d4d8de", width: 2},
      x: known.flatMap((row) => [Math.abs(row.smd_before), Math.abs(row.smd_after), null]),
      y: known.flatMap((_, i) => [i, i, null]),
    };
    const isIn = (row) => Math.abs(row.smd_after) <= IMBALANCE;
    const layout = {
      height: 118 + 21 * known.length, margin: {l: 8, r: 14, t: 36, b: 54}, hovermode: "closest", dragmode: false,
      paper_bgcolor: "#fff", plot_bgcolor: "#fff", font: {color: "#1b1b1b", size: 12},
      legend: {orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom", font: {size: 11.5}},
      xaxis: {rangemode: "tozero", zeroline: true, zerolinecolor: "#8a8f98", gridcolor: "#eceef1", title: {text: "|standardized mean difference|", font: {size: 12}}},
      yaxis: {
        range: [-0.7, known.length - 0.3], tickvals: known.map((_, i) => i), automargin: true, fixedrange: true,
        ticktext: known.map((row) => label(short(row.covariate, 34))), showgrid: false, zeroline: false,
      },
      shapes: [{type: "line", x0: IMBALANCE, x1: IMBALANCE, yref: "paper", y0: 0, y1: 1, line: {color: "#882255", width: 1.5, dash: "dash"}}],
      annotations: [{x: IMBALANCE, yref: "paper", y: 1, text: String(IMBALANCE), showarrow: false, yanchor: "bottom", font: {size: 11, color: "#882255"}}],
    };
    byId("love").setAttribute("aria-label", "Love plot: absolute standardized mean differences before and after matching; the same numbers are in the table beside it");
    const after = known.map((row) => row).filter((row) => isNumber(row.smd_after));
    const colours = after.map((row) => (isIn(row) ? "#0072B2" : "#D55E00"));
    const symbols = after.map((row) => (isIn(row) ? "circle" : "square"));
    return Plotly.react("love", [lines,
      dots("before", "smd_before", {color: GREY, size: 8, symbol: "circle-open", line: {width: 1.5, color: GREY}}),
      dots("after", "smd_after", {color: colours, size: 9, symbol: symbols})], layout, CONFIG);
  }

  // ---- Pairs

  const sets = new Map();
  PAIRS.case.forEach((one, i) => {
    if (!sets.has(one)) sets.set(one, []);
    sets.get(one).push(i);
  });
  const placeOf = new Map([...sets.keys()].map((one) => [CASES.record_id[one], one]));
  const isUsed = (one) => sets.get(one).some((i) => isNumber(PAIRS.weight[i]));
  const haystack = (one) => ["", ...[CASES.caption[one], CASES.kind[one], CASES.category[one], CASES.record_id[one]]
    .filter((text) => text !== null).flatMap(words)].join(" ");
  const haystacks = new Map([...sets.keys()].map((one) => [one, haystack(one)]));
  const ratings = new Map();
  let unsaved = 0;

  // Neighbourhoods in words that a blind rater would read; a number is no name.
  const spoken = NAMES.filter((name) => /\p{L}{3}/u.test(name))
    .map((name) => name.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")).sort((a, b) => b.length - a.length);
  const SPOKEN = spoken.length ? new RegExp(`(?<![\\p{L}\\p{N}])(?:${spoken.join("|")})(?![\\p{L}\\p{N}])`, "giu") : null;
  const isBlind = () => byId("blind").checked;
  const masked = (text) => (isBlind() && SPOKEN ? text.replace(SPOKEN, "▒▒▒") : text);

  // Mulberry32: the same seed gives the same order in every browser.
  function random(seed) {
    let at = seed >>> 0;
    return () => {
      at = (at + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(at ^ (at >>> 15), at | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  function shuffled(values, seed) {
    const next = random(seed);
    const order = [...values];
    for (let i = order.length - 1; i > 0; i -= 1) {
      const j = Math.floor(next() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  function shuffle() {
    const wanted = words(byId("search").value).map((one) => ` ${one}`);
    const from = isBlind() ? "" : byId("from").value;
    const used = byId("used").value;
    const found = [...sets.keys()].filter((one) => (from === "" || CASES.neighborhood[one] === NAMES[Number(from)])
      && (used === "all" || isUsed(one) === (used === "used"))
      && wanted.every((word) => haystacks.get(one).includes(word)));
    // Another order, so that a blind rater has not just seen the first pair.
    state.order = shuffled(found, (Number(byId("seed").value) || 0) + (isBlind() ? 1 : 0));
    state.place = 0;
    [state.pair = null] = state.order;
  }

  function caseHours(one, restricted) {
    const took = CASES.hours_to_close[one];
    if (took === null) return `open, or not known; counts as ${hours(restricted)}`;
    if (took > restricted + 0.06) return `closed after ${hours(took)}; counts as ${hours(restricted)}`;
    return `closed after ${hours(took)}`;
  }

  function methodWords(one) {
    const [method, model] = [CASES.caption_method[one], CASES.caption_model[one]];
    if (method === null) return "No description";
    if (method === "case_text") return "The case's own text";
    return `Model's words (${model || method})`;
  }

  function picture(one, what) {
    const thumbnail = CASES.thumbnail[one];
    if (thumbnail) return el("div", {className: "picture"}, el("img", {src: `data:image/jpeg;base64,${thumbnail}`, alt: `Photo of ${what}`}));
    return el("div", {className: "picture"}, CASES.has_photo[one] ? "photo not in this file" : "no photo");
  }

  function told(one, title, restricted, more) {
    const hidden = () => el("span", {className: "masked"}, "hidden");
    const rows = [
      ["Kind", CASES.kind[one] === null ? NO_VALUE : masked(CASES.kind[one])], ["Opened", CASES.day[one]],
      ["Hours", isBlind() ? hidden() : caseHours(one, restricted)],
      ["Neighborhood", isBlind() ? hidden() : CASES.neighborhood[one] || NO_VALUE],
      ...more,
    ];
    const record = isBlind() || !CASES.record_url[one] ? null : link(CASES.record_url[one], "Record at the portal");
    return [
      picture(one, title.toLowerCase()), el("h3", {}, isBlind() ? title : `${title} ${CASES.record_id[one]}`),
      el("p", {className: "caption"}, masked(CASES.caption[one] || "No description."), el("span", {className: "method"}, methodWords(one))),
      facts(rows), record ? el("p", {}, record) : null,
    ];
  }

  function ratingButtons(i, title) {
    const given = ratings.get(i);
    return el("div", {className: "rating", role: "group", "aria-label": `Do the case and ${title.toLowerCase()} match?`},
      "Match?", ...RESULTS.map(([value, text]) => el("button", {
        type: "button", "data-rating": value, "aria-pressed": String(given?.rating === value),
        onclick: () => {
          ratings.set(i, {rating: value, was_blind: isBlind(), rated_at: new Date().toISOString()});
          unsaved += 1;
          writePair();
          byId("pair").querySelector(`[data-pair="${i}"] [data-rating="${value}"]`).focus();
        },
      }, text)));
  }

  function writePair() {
    writeRated();
    const blind = isBlind();
    const one = state.pair;
    byId("from").disabled = blind;
    byId("back").disabled = state.place < 1;
    byId("next").disabled = state.order.length < 2;
    byId("found").textContent = state.order.length
      ? `${whole(state.place + 1)} of ${whole(state.order.length)} cases` : "No case like that is in this file.";
    if (one === null) {
      byId("pair").replaceChildren(el("p", {className: "quiet"}, "No pair to show."));
      return;
    }
    // In an order that tells a blind rater nothing.
    const pairs = [...sets.get(one)].sort((a, b) => (blind
      ? CASES.record_id[PAIRS.control[a]].localeCompare(CASES.record_id[PAIRS.control[b]])
      : PAIRS.match_rank[a] - PAIRS.match_rank[b]));
    const first = pairs[0];
    const cards = pairs.map((i, place) => {
      const title = blind ? `Control ${"ABCDE"[place] || place + 1}` : `Control ${PAIRS.match_rank[i]}`;
      const use = isNumber(PAIRS.weight[i]) ? `used, weight ${fixed(PAIRS.weight[i], 2)}`
        : PAIRS.is_within_caliper[i] ? "not used: farther than the k nearest" : "not used: not alike enough";
      const more = blind ? [] : [["Similarity", fixed(PAIRS.similarity[i], 3)], ["Effects", use]];
      return el("article", {className: "card", "data-pair": String(i)},
        ...told(PAIRS.control[i], title, PAIRS.control_restricted_hours[i], more), ratingButtons(i, title));
    });
    byId("pair").replaceChildren(el("div", {className: "set"},
      el("article", {className: "card case"}, ...told(one, "Case", PAIRS.restricted_hours[first], [["In common", masked(PAIRS.stratum[first])]])),
      ...cards));
  }

  function writeRated() {
    const counts = RESULTS.map(([value, text]) => `${text.toLowerCase()} ${[...ratings.values()].filter((one) => one.rating === value).length}`);
    byId("rated").textContent = ratings.size
      ? `${whole(ratings.size)} ${ratings.size === 1 ? "pair" : "pairs"} rated: ${counts.join(", ")}; kept until this page is closed.` : "No pair is rated yet.";
    byId("save").disabled = !ratings.size;
    document.documentElement.dataset.rated = String(ratings.size);
  }

  function step(by) {
    const length = state.order.length;
    if (!length) return;
    state.place = (state.place + by + length) % length;
    state.pair = state.order[state.place];
    writePair();
    remember();
    byId("pair").focus({preventScroll: true});
  }

  // ---- Files

  // A spreadsheet would compute a text that begins like a formula.
  function cell(value) {
    if (value === null || value === undefined) return "";
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  }

  function save(name, columns, rows) {
    const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
    const text = lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
    const address = URL.createObjectURL(new Blob([text], {type: "text/csv;charset=utf-8"}));
    const made = el("a", {href: address, download: name});
    document.body.append(made);
    made.click();
    made.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  function saveRatings() {
    const columns = ["feed", "month", "record_id", "control_id", "neighborhood", "control_neighborhood", "stratum",
      "match_rank", "similarity", "is_within_caliper", "rating", "was_blind", "rated_at"];
    save(`ratings_${DATA.feed}_${DATA.month}.csv`, columns, [...ratings].map(([i, given]) => ({
      feed: DATA.feed, month: DATA.month, record_id: CASES.record_id[PAIRS.case[i]],
      control_id: CASES.record_id[PAIRS.control[i]], neighborhood: CASES.neighborhood[PAIRS.case[i]],
      control_neighborhood: CASES.neighborhood[PAIRS.control[i]], stratum: PAIRS.stratum[i],
      match_rank: PAIRS.match_rank[i], similarity: PAIRS.similarity[i],
      is_within_caliper: PAIRS.is_within_caliper[i], ...given,
    })));
    unsaved = 0;
  }

  // ---- Trust, numbers, design

  function drawPlacebo() {
    const rows = DATA.placebo.filter((row) => isNumber(row.share_significant));
    const apart = (row) => row.share_low > 0.05 || row.share_high < 0.05;
    const parts = DATA.placebo.map((row) => (isNumber(row.share_significant)
      ? `${row.words}: ${count(row.significant)} of ${count(row.effects)} effects have p below 0.05, ${percent(row.share_significant)} `
        + `(${percent(row.share_low)} to ${percent(row.share_high)}). `
        + (apart(row) ? `That is ${row.share_low > 0.05 ? "more" : "less"} than 5 %: intervals are too ${row.share_low > 0.05 ? "narrow" : "wide"}.` : "5 % is within it.")
      : `${row.words}: no tests.`));
    byId("placebo-words").replaceChildren(...(parts.length
      ? parts.map((text, i) => el("span", {className: rows.includes(DATA.placebo[i]) && apart(DATA.placebo[i]) ? "warning method" : "method"}, text))
      : ["No placebo test was made."]));
    byId("placebo").hidden = !rows.length;
    if (!rows.length) return Promise.resolve();
    byId("placebo").setAttribute("aria-label", "Share of placebo effects called significant, with intervals, against 5 %; the same numbers are in the words above");
    const percentOf = (value) => 100 * value;
    const most = Math.max(15, ...rows.map((row) => percentOf(row.share_high) * 1.05));
    return Plotly.react("placebo", [{
      type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false,
      x: rows.map((row) => percentOf(row.share_significant)), y: rows.map((_, i) => i),
      error_x: {
        type: "data", symmetric: false, color: GREY, thickness: 1.6, width: 5,
        array: rows.map((row) => percentOf(row.share_high - row.share_significant)),
        arrayminus: rows.map((row) => percentOf(row.share_significant - row.share_low)),
      },
      marker: {size: 10, color: rows.map((row) => (apart(row) ? LONGER : SHORTER)), symbol: rows.map((row) => (apart(row) ? "square" : "circle"))},
    }], {
      height: 100 + 34 * rows.length, margin: {l: 8, r: 14, t: 22, b: 54}, dragmode: false, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
      font: {color: "#1b1b1b", size: 12},
      xaxis: {range: [0, most], gridcolor: "#eceef1", ticksuffix: " %", title: {text: "effects with p below 0.05", font: {size: 12}}},
      yaxis: {range: [-0.6, rows.length - 0.4], tickvals: rows.map((_, i) => i), ticktext: rows.map((row) => label(short(row.placebo.replaceAll("_", " "), 30))), automargin: true, showgrid: false, zeroline: false},
      shapes: [{type: "line", x0: 5, x1: 5, yref: "paper", y0: 0, y1: 1, line: {color: "#882255", width: 1.5, dash: "dash"}}],
      annotations: [{x: 5, yref: "paper", y: 1, text: "5 %", showarrow: false, yanchor: "bottom", font: {size: 11, color: "#882255"}}],
    }, CONFIG);
  }

  function writeSensitivity() {
    const ratio = (name, head) => number(name, head, (value) => fixed(value, 2));
    const stable = (value) => (value === null || value === undefined ? NO_VALUE : value ? "yes" : "no");
    table("sensitivity-table", "Sensitivity of the headline, adjusted disparity in hours; both signs over the choices are marked.", [
      said("neighborhood", "Neighborhood"), ratio("rosenbaum_gamma", "Rosenbaum's Γ"), number("gamma_pairs", "on pairs", count),
      ratio("e_value", "E-value"), ratio("e_value_of_interval", "of the interval"),
      number("lowest_att_hours", "Least hours", signed), number("highest_att_hours", "Most hours", signed),
      number("choices", "Choices", count),
      number("is_sign_stable", "One sign", stable, "", (row) => row.is_sign_stable === false),
    ], DATA.sensitivity, {isChosen: (row) => row.neighborhood === state.neighborhood});
  }

  const WORDS = new Set(["neighborhood", "estimator", "reason", "embedding_model"]);
  const HEADS = {
    neighborhood: "Neighbourhood", estimator: "Estimator", att_hours: "Hours", se: "SE", low: "Low", high: "High",
    p_randomization: "p, signs flipped", n_treated: "Cases", n_matched: "Matched", n_controls_used: "Controls",
    effective_controls: "Effective", share_on_support: "On support", mean_similarity: "Similarity",
    mean_restricted_hours: "Mean hours", is_contradicted: "Contradicted", reason: "Reason",
  };
  const FORMATS = {
    att_hours: signed, se: plain, low: plain, high: plain, p: chance, p_randomization: chance, q: chance, k: count,
    n_treated: count, n_matched: count, n_controls_used: count, effective_controls: plain, share_on_support: percent,
    mean_similarity: (value) => fixed(value, 3), mean_restricted_hours: plain,
    is_contradicted: (value) => (value === null || value === undefined ? NO_VALUE : value ? "yes" : "no"),
  };
  const HIDDEN_COLUMNS = new Set(["feed", "month", "is_headline", "is_provisional", "embedding_model"]);

  function writeNumbers() {
    const rows = state.isEvery ? DATA.att : rowsOf(state.estimator, state.k);
    const columns = DATA.att_columns.filter(([name]) => !HIDDEN_COLUMNS.has(name)).map(([name, doc]) => (WORDS.has(name)
      ? said(name, HEADS[name] || name, doc)
      : number(name, HEADS[name] || name, FORMATS[name] || String, doc, name === "is_contradicted" ? (row) => row[name] === true : null)));
    columns.push({
      name: "worst", head: "Largest |SMD|", doc: "Of all covariates, after matching of the headline", isText: false,
      isOff: (row) => worst(row.neighborhood) > IMBALANCE, text: (row) => fixed(worst(row.neighborhood), 2), value: (row) => worst(row.neighborhood),
    });
    const what = state.isEvery ? "all estimators" : `${state.estimator}, k = ${state.k}`;
    table("numbers-table", `${what}: ${DISPARITY}, in hours of min(T, ${DATA.limit_hours} h).`, columns, rows,
      {isChosen: (row) => row.neighborhood === state.neighborhood});
  }

  function writeOnce() {
    byId("facts").textContent = DATA.facts;
    byId("banners").replaceChildren(...DATA.banners.map(([strong, text]) =>
      el("p", {className: "banner"}, el("strong", {}, strong), ` ${text}`)));
    byId("caveats").replaceChildren(...DATA.caveats.flatMap(([what, text]) => [el("dt", {}, what), el("dd", {}, text)]));
    byId("notes").replaceChildren(...DATA.notes.map((note) => el("li", {}, note)));
    byId("chosen").replaceChildren(...NAMES.map((name, i) => el("option", {value: String(i)}, name)));
    byId("from").replaceChildren(el("option", {value: ""}, "all neighbourhoods"),
      ...NAMES.map((name, i) => el("option", {value: String(i)}, name)));
    byId("seed").value = String(DATA.seed);
    const row = (cells, className = "") => el("tr", {className}, ...cells.map((one, place) => el(place ? "td" : "th",
      {className: place && one.length > 14 ? "text" : "", ...(place ? {} : {scope: "row"})}, one)));
    byId("record").replaceChildren(
      el("table", {}, el("caption", {}, "Who is compared, and who is left out of the headline"),
        el("tbody", {}, row(["Requests of the window", whole(DATA.window)], "sum"),
          ...DATA.left_out.map(([text, left]) => row([`− ${text}`, whole(left)])),
          row(["Mature cases that are compared", whole(DATA.compared)], "sum"))),
      el("table", {}, el("caption", {}, "The record, as causal.design has it"),
        el("tbody", {}, ...DATA.design.map(([name, value, doc]) => el("tr", {},
          el("th", {scope: "row", title: doc}, name), el("td", {className: "text"}, value), el("td", {className: "text quiet"}, doc))))));
    writeSummary();
  }

  // ---- What is chosen

  function fragment() {
    const asked = new URLSearchParams();
    asked.set("neighborhood", state.neighborhood);
    if (state.estimator !== QUOTED.estimator || state.k !== QUOTED.k) {
      asked.set("estimator", state.estimator);
      asked.set("k", String(state.k));
    }
    if (state.pair !== null && !isBlind()) asked.set("pair", CASES.record_id[state.pair]);
    return asked.toString();
  }

  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const sure = [...HEADLINE].filter(hasInterval).sort((a, b) => (a.q ?? 1) - (b.q ?? 1));
    state.neighborhood = NAMES.includes(asked.get("neighborhood")) ? asked.get("neighborhood") : state.neighborhood
      || (sure[0] || QUOTED).neighborhood;
    const [estimator, k] = [asked.get("estimator"), Number(asked.get("k"))];
    if (ksOf(estimator).length) {
      state.estimator = estimator;
      state.k = ksOf(estimator).includes(k) ? k : ksOf(estimator)[0];
    }
    if (!isBlind() && placeOf.has(asked.get("pair"))) {
      state.pair = placeOf.get(asked.get("pair"));
      state.place = Math.max(state.order.indexOf(state.pair), 0);
    }
  }

  function remember() {
    const wanted = fragment();
    if (wanted !== location.hash.slice(1)) history.replaceState(null, "", `#${wanted}`);
  }

  function choose(name) {
    state.neighborhood = name;
    if (!isBlind()) {
      byId("from").value = String(NAMES.indexOf(name));
      shuffle();
    }
    render();
  }

  function render() {
    byId("chosen").value = String(NAMES.indexOf(state.neighborhood));
    writeSwitches();
    writeUndrawn();
    writeCard();
    writeSensitivity();
    writeNumbers();
    writePair();
    remember();
    return Promise.all([drawForest(), writeBalance()]).then(() => {
      document.documentElement.dataset.ready = "effects";
      document.documentElement.dataset.estimator = `${state.estimator} ${state.k}`;
    });
  }

  function again() {
    shuffle();
    writePair();
    remember();
  }

  byId("chosen").addEventListener("change", () => choose(NAMES[Number(byId("chosen").value)]));
  byId("every").addEventListener("change", () => {
    state.isEvery = byId("every").checked;
    writeNumbers();
  });
  byId("save-numbers").addEventListener("click", () => {
    const columns = DATA.att_columns.map(([name]) => name);
    save(`effects_${DATA.feed}_${DATA.month}.csv`, columns, DATA.att.map((row) => ({feed: DATA.feed, month: DATA.month, ...row})));
  });
  byId("choose").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["from", "used", "seed"]) byId(id).addEventListener("change", again);
  byId("blind").addEventListener("change", () => {
    const seen = state.pair;
    byId("from").value = "";
    shuffle();
    // Who has rated a pair blindly may see what it was.
    if (!isBlind() && state.order.includes(seen)) {
      state.pair = seen;
      state.place = state.order.indexOf(seen);
    }
    writePair();
    remember();
  });
  let waiting = null;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(again, 200);
  });
  byId("next").addEventListener("click", () => step(1));
  byId("back").addEventListener("click", () => step(-1));
  byId("save").addEventListener("click", saveRatings);
  window.addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
  window.addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return;
    read();
    render();
  });

  writeOnce();
  shuffle();
  read();
  Promise.all([drawPlacebo(), render()]).then(() => {
    const forest = byId("forest");
    if (forest.on) forest.on("plotly_click", (event) => choose(event.points[0].customdata));
  });
})();
