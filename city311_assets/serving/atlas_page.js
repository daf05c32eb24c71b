// The page of one atlas month: draws the cases in #data, and keeps what is chosen in the fragment:
// #case=<record id>&search=<text>&view=3d&only=<cluster id>.
// Every text of a case goes into the page by textContent; nothing of it is ever read as HTML.
"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const CASES = DATA.cases;
  const N = CASES.record_id.length;
  const RESULTS_SHOWN = 40;
  const LABELS_SHOWN = {"2d": 20, "3d": 8};
  const LABEL_HEIGHT = 22;
  const CROWD = 2000;
  const LETTER_WIDTH = 7;
  const GREY = "#8a8a8a";
  const GLYPHS = {circle: "●", square: "■", diamond: "◆", cross: "✚", x: "✖"};
  const OUTLIERS = DATA.clusters.length;
  const NO_VALUE = "–";
  const TWO_DIMENSIONS = {x: CASES.x, y: CASES.y};
  const THREE_DIMENSIONS = {x: CASES.x3, y: CASES.y3, z: CASES.z3};

  const byId = (id) => document.getElementById(id);
  const whole = (value) => value.toLocaleString("en");
  const percent = (value) => {
    if (value === null) return NO_VALUE;
    const shown = 100 * value;
    return `${shown.toFixed(Math.abs(shown) < 9.95 ? 1 : 0)} %`;
  };
  const change = (value) => (value === null ? NO_VALUE : `${value > 0 ? "+" : ""}${Math.round(100 * value)} %`);
  const hours = (value) => {
    if (value === null) return NO_VALUE;
    if (value < 1) return "< 1 h";
    return value < 48 ? `${Math.round(value)} h` : `${(value / 24).toFixed(value < 240 ? 1 : 0)} d`;
  };
  const short = (text, length) => {
    const letters = Array.from(text);
    return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : text;
  };
  // Plotly reads a little markup in labels: a name is shown letter by letter.
  const label = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

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

  function link(address, words) {
    let url;
    try {
      url = new URL(address);
    } catch {
      return null;
    }
    if (url.protocol !== "http:" && url.protocol !== "https:") return null;
    return el("a", {href: url.href, target: "_blank", rel: "noopener noreferrer"}, words);
  }

  const clusters = DATA.clusters.map((cluster, place) => ({...cluster, place, cases: []}));
  clusters.push({
    id: null, name: "Outliers", colour: GREY, symbol: "circle", place: OUTLIERS, cases: [],
    size: DATA.outliers.size, share: DATA.outliers.share, growth: null, median_severity: null,
    median_hours_to_close: null,
  });
  for (let i = 0; i < N; i += 1) {
    clusters[CASES.cluster[i] === null ? OUTLIERS : CASES.cluster[i]].cases.push(i);
  }
  const clusterOf = (i) => clusters[CASES.cluster[i] === null ? OUTLIERS : CASES.cluster[i]];
  const placeOf = new Map(CASES.record_id.map((id, i) => [id, i]));
  const word = (column, i) => {
    const code = CASES[column].codes[i];
    return code === null ? null : CASES[column].values[code];
  };
  // Words by their beginnings: "tree" finds trees and no street.
  const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) || [];
  const haystacks = CASES.record_id.map((id, i) => ["",
    ...[CASES.caption[i], word("kind", i), word("neighborhood", i), word("category", i), id]
      .filter((text) => text !== null).flatMap(words)].join(" "));

  const state = {
    view: "2d", search: "", chosen: null, cluster: null, hidden: new Set(), sort: "size", down: true,
  };

  // ---- What is drawn

  const middle = (values) => {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  };
  const axesOf = (view) => (view === "3d" ? THREE_DIMENSIONS : TWO_DIMENSIONS);

  // All cases are in view, also while some are hidden: the map does not move when clusters do.
  function extent(values, more = []) {
    const known = [...values.filter((value) => value !== null), ...more];
    if (!known.length) return [0, 1];
    const least = known.reduce((a, b) => Math.min(a, b));
    const most = known.reduce((a, b) => Math.max(a, b));
    const edge = 0.04 * (most - least || 1);
    return [least - edge, most + edge];
  }

  function points(axes, type, cases, marker, opacity) {
    const trace = {
      type, mode: "markers", hoverinfo: "none", showlegend: false, opacity, marker, customdata: cases,
    };
    for (const [axis, values] of Object.entries(axes)) trace[axis] = cases.map((i) => values[i]);
    return trace;
  }

  function matching() {
    const wanted = words(state.search).map((one) => ` ${one}`);
    if (!wanted.length) return null;
    const found = [];
    for (let i = 0; i < N; i += 1) {
      const isShown = !state.hidden.has(clusterOf(i).place);
      if (isShown && wanted.every((one) => haystacks[i].includes(one))) found.push(i);
    }
    return found;
  }

  function traces(axes, type, size, found) {
    const drawable = Object.values(axes);
    const placed = (cases) => cases.filter((i) => drawable.every((values) => values[i] !== null));
    const is3d = type === "scatter3d";
    const drawn = clusters.map((cluster) => {
      const cases = state.hidden.has(cluster.place) ? [] : placed(cluster.cases);
      const marker = {color: cluster.colour, symbol: cluster.symbol, size, line: {width: 0}};
      const opacity = cluster.id === null ? 0.35 : 0.75;
      return points(axes, type, cases, marker, found ? 0.1 : opacity);
    });
    if (found) {
      const cases = placed(found);
      const isCrowd = cases.length > CROWD;
      drawn.push(points(axes, type, cases, {
        color: cases.map((i) => clusterOf(i).colour), symbol: cases.map((i) => clusterOf(i).symbol),
        size: size + (isCrowd ? 0 : 2), line: {width: isCrowd ? 0 : 1, color: "#1b1b1b"},
      }, 1));
    }
    if (state.chosen !== null) {
      const near = CASES.nearest[state.chosen].filter((one) => typeof one === "number");
      const ring = {symbol: "circle-open", line: {width: 2, color: "#1b1b1b"}, color: "#1b1b1b"};
      drawn.push(points(axes, type, placed(near), {...ring, size: size + 6}, 1));
      drawn.push(points(axes, type, placed([state.chosen]), {
        symbol: is3d ? "diamond" : "star", size: is3d ? size + 7 : size + 12, color: "#000",
        line: {width: 1, color: "#fff"},
      }, 1));
    }
    return drawn;
  }

  // Labels of larger clusters come first; one that would lie on another is left to the list.
  function apart(labels, axes) {
    const pixels = byId("plot").getBoundingClientRect();
    const [width, height] = [axes.x, axes.y].map((values) => {
      const [least, most] = extent(values);
      return most - least;
    });
    const scale = Math.min(pixels.width / width, pixels.height / height);
    const kept = [];
    for (const one of labels) {
      const reach = (other) => ((one.length + other.length) * LETTER_WIDTH) / 2;
      const isClear = kept.every((other) => Math.abs(one.x - other.x) * scale > reach(other)
        || Math.abs(one.y - other.y) * scale > LABEL_HEIGHT);
      if (isClear) kept.push(one);
    }
    return kept;
  }

  function annotations(axes) {
    const labels = clusters
      .filter((one) => one.id !== null && one.cases.length && !state.hidden.has(one.place))
      .slice(0, LABELS_SHOWN[state.view])
      .map((one) => {
        const text = short(one.name, 30);
        const at = {text, length: text.length, colour: one.colour};
        for (const [axis, values] of Object.entries(axes)) {
          at[axis] = middle(one.cases.map((i) => values[i]).filter((value) => value !== null));
        }
        return at;
      });
    return apart(labels, axes).map(({text, length, colour, ...at}) => ({
      ...at, text: label(text), showarrow: false, bgcolor: "rgba(255,255,255,.8)",
      font: {size: 12, color: "#1b1b1b"}, bordercolor: colour, borderwidth: 1, borderpad: 2,
      captureevents: false,
    }));
  }

  const CONFIG = {
    displaylogo: false, responsive: true, scrollZoom: true, displayModeBar: true,
    modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };
  const CONFIG_3D = {...CONFIG, modeBarButtons: [["orbitRotation", "pan3d", "resetCameraDefault3d"]]};
  const BARE = {showgrid: false, zeroline: false, showticklabels: false, ticks: "", showline: false};
  const MARGIN = {l: 4, r: 4, t: 4, b: 4};

  function drawAtlas(found) {
    const axes = axesOf(state.view);
    const is3d = state.view === "3d";
    const size = (is3d ? 3.5 : 6) - (N > CROWD ? 1.5 : 0);
    const layout = {
      margin: MARGIN, uirevision: state.view, hovermode: "closest", showlegend: false,
      paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    };
    if (is3d) {
      const axis = {showticklabels: false, title: {text: ""}, showspikes: false, gridcolor: "#e3e6ea",
        zeroline: false, showbackground: false};
      const [xaxis, yaxis, zaxis] = [axes.x, axes.y, axes.z].map((values) => ({...axis, range: extent(values)}));
      layout.scene = {xaxis, yaxis, zaxis, aspectmode: "cube",
        annotations: annotations(axes), camera: {eye: {x: 1.05, y: 1.05, z: 0.6}}};
    } else {
      layout.xaxis = {...BARE, range: extent(axes.x)};
      layout.yaxis = {...BARE, range: extent(axes.y), scaleanchor: "x"};
      layout.dragmode = "pan";
      layout.annotations = annotations(axes);
    }
    return Plotly.react("plot", traces(axes, is3d ? "scatter3d" : "scattergl", size, found), layout,
      is3d ? CONFIG_3D : CONFIG);
  }

  function drawMap(found) {
    const outline = {
      type: "scattergl", mode: "lines", x: [], y: [], hoverinfo: "skip", showlegend: false,
      line: {color: "#b4bac3", width: 1},
    };
    for (const ring of DATA.outline) {
      for (const [longitude, latitude] of ring) {
        outline.x.push(longitude);
        outline.y.push(latitude);
      }
      outline.x.push(null);
      outline.y.push(null);
    }
    const latitudes = CASES.latitude.filter((value) => value !== null);
    const stretch = 1 / Math.cos(((latitudes.length ? middle(latitudes) : 0) * Math.PI) / 180);
    const axes = {x: CASES.longitude, y: CASES.latitude};
    return Plotly.react("map", [outline, ...traces(axes, "scattergl", N > CROWD ? 3 : 4, found)], {
      margin: {l: 0, r: 0, t: 0, b: 0}, uirevision: "map", hovermode: "closest", dragmode: "pan",
      xaxis: {...BARE, range: extent(axes.x, outline.x.filter((value) => value !== null))},
      yaxis: {
        ...BARE, range: extent(axes.y, outline.y.filter((value) => value !== null)),
        scaleanchor: "x", scaleratio: stretch,
      },
      showlegend: false,
      paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    }, {...CONFIG, displayModeBar: false});
  }

  // ---- What is written

  function mark(cluster) {
    const made = el("span", {className: "mark", "aria-hidden": "true"}, GLYPHS[cluster.symbol]);
    made.style.color = cluster.colour;
    return made;
  }

  function caseButton(i) {
    const cluster = clusterOf(i);
    const text = CASES.caption[i] || word("kind", i) || "";
    return el("li", {}, el("button", {type: "button", onclick: () => choose(i)},
      mark(cluster), ` ${CASES.record_id[i]} · ${CASES.day[i]} · ${short(text, 110)}`));
  }

  const COLUMNS = [
    ["name", "Cluster", (one) => one.name],
    ["size", "Cases", (one) => whole(one.size)],
    ["share", "Share", (one) => percent(one.share)],
    ["growth", "Growth", (one) => change(one.growth)],
    ["median_severity", "Sev.", (one) => (one.median_severity === null ? NO_VALUE : String(one.median_severity))],
    ["median_hours_to_close", "Time", (one) => hours(one.median_hours_to_close)],
  ];
  const MEANINGS = {
    size: "Cases of the window in the cluster", share: "Share of the window's cases",
    growth: "Its share of the newest month's cases against the months before",
    median_severity: "Median severity, 1 slight to 5 dangerous, as the model judges",
    median_hours_to_close: "Time until half are closed, open ones counted",
  };

  function writeColumns() {
    byId("columns").replaceChildren(...COLUMNS.map(([name, words]) => {
      const isSorted = state.sort === name;
      const order = isSorted ? (state.down ? "descending" : "ascending") : "none";
      const arrow = isSorted ? (state.down ? "↓" : "↑") : "";
      return el("th", {scope: "col", "aria-sort": order}, el("button", {
        type: "button", title: MEANINGS[name] || "",
        onclick: () => {
          state.down = isSorted ? !state.down : name !== "name";
          state.sort = name;
          writeColumns();
          writeClusters();
          byId("columns").querySelector(`[data-column="${name}"]`).focus();
        },
        "data-column": name,
      }, words + arrow));
    }));
  }

  // The list is written anew: whoever works it by keyboard stays where they were.
  function refocus(place, tag) {
    byId("clusters").querySelector(`[data-place="${place}"] ${tag}`).focus();
  }

  function writeClusters() {
    const value = (one) => one[state.sort];
    const sorted = clusters.slice(0, OUTLIERS).sort((a, b) => {
      const [first, second] = [value(a), value(b)];
      if (first === null || second === null) return (first === null) - (second === null);
      const order = typeof first === "string" ? first.localeCompare(second) : first - second;
      return (state.down ? -order : order) || a.place - b.place;
    });
    if (clusters[OUTLIERS].size) sorted.push(clusters[OUTLIERS]);
    byId("clusters").replaceChildren(...sorted.map((one) => {
      const isHidden = state.hidden.has(one.place);
      const box = el("input", {
        type: "checkbox", checked: !isHidden, "aria-label": `Show ${one.name}`,
        onchange: () => {
          if (!state.hidden.delete(one.place)) state.hidden.add(one.place);
          state.cluster = null;
          render();
          refocus(one.place, "input");
        },
      });
      const name = el("button", {type: "button", onclick: () => only(one.place),
        title: "Show only this cluster"}, one.name);
      return el("tr", {className: isHidden ? "hidden" : "", "data-place": String(one.place)},
        ...COLUMNS.map(([column, , shown]) => (column === "name"
          ? el("td", {}, el("div", {className: "name"}, box, mark(one), name))
          : el("td", {}, shown(one)))));
    }));
  }

  function writeCluster() {
    const one = state.cluster === null ? null : clusters[state.cluster];
    if (!one || one.id === null) {
      byId("cluster").replaceChildren();
      return;
    }
    const exemplars = one.exemplars.filter((id) => placeOf.has(id)).map((id) => placeOf.get(id));
    byId("cluster").replaceChildren(el("div", {className: "card"},
      el("h3", {}, mark(one), ` ${one.name}`), el("p", {}, one.description),
      one.keywords.length ? el("p", {className: "quiet"}, `Terms: ${one.keywords.join(", ")}`) : null,
      exemplars.length ? el("p", {className: "quiet"}, "Most central cases:") : null,
      el("ol", {className: "cases"}, ...exemplars.map(caseButton))));
  }

  function methodWords(i) {
    const method = word("caption_method", i);
    if (method === null) return "No description";
    if (method === "case_text") return "The case's own text (case_text)";
    const model = word("caption_model", i);
    return `Model's words (${method}${model === null ? "" : `, ${model}`})`;
  }

  function writeCase() {
    const i = state.chosen;
    if (i === null) {
      byId("case").replaceChildren(el("p", {className: "quiet"}, state.missing
        ? `No case ${state.missing} on this page.`
        : "No case chosen: click a point, or search."));
      return;
    }
    const cluster = clusterOf(i);
    const id = CASES.record_id[i];
    const thumbnail = CASES.thumbnail[i];
    const facts = [
      ["Cluster", cluster.name], ["Kind", word("kind", i)], ["Category", word("category", i)],
      ["Neighborhood", word("neighborhood", i)], ["Opened", CASES.day[i]],
      ["Closed after", CASES.hours_to_close[i] === null ? "open, or not known" : hours(CASES.hours_to_close[i])],
      ["Severity", CASES.severity[i] === null ? "not judged" : `${CASES.severity[i]} of 5`],
    ];
    const links = [
      CASES.record_url[i] && link(CASES.record_url[i], DATA.is_sample
        ? "Record at the portal (made up, unknown there)" : "Record at the portal"),
      CASES.photo_url[i] && link(CASES.photo_url[i], "Photo at its host"),
    ].filter((one) => one);
    const near = CASES.nearest[i].map((one) => (typeof one === "number"
      ? caseButton(one)
      : el("li", {className: "quiet"}, `${one} (not drawn on this page)`)));
    byId("case").replaceChildren(el("article", {className: "card"},
      thumbnail ? el("img", {src: `data:image/jpeg;base64,${thumbnail}`, alt: `Photo of case ${id}`}) : null,
      el("h3", {}, `Case ${id}`),
      el("p", {}, CASES.caption[i] || "No description.", el("span", {className: "method"}, methodWords(i))),
      el("dl", {}, ...facts.flatMap(([name, value]) => [
        el("dt", {}, name),
        name === "Cluster" ? el("dd", {}, mark(cluster), ` ${value}`) : el("dd", {}, value === null ? NO_VALUE : value),
      ])),
      el("p", {}, ...links.flatMap((one, place) => (place ? [" · ", one] : [one]))),
      el("h3", {}, "Nearest cases"),
      near.length ? el("ol", {className: "cases"}, ...near) : el("p", {className: "quiet"}, "None.")));
  }

  const shown = () => clusters.filter((one) => !state.hidden.has(one.place))
    .reduce((sum, one) => sum + one.cases.length, 0);

  function writeFound(found) {
    byId("found").textContent = found ? `${whole(found.length)} of ${whole(shown())} match` : "";
    if (!found || !found.length) {
      byId("results").replaceChildren();
      return;
    }
    const more = found.length - RESULTS_SHOWN;
    byId("results").replaceChildren(el("h2", {}, "Found"),
      el("ol", {className: "cases"}, ...found.slice(0, RESULTS_SHOWN).map(caseButton)),
      more > 0 ? el("p", {className: "quiet"}, `and ${whole(more)} more, marked on the map`) : "");
  }

  function eventWords(event) {
    const others = event.others.join(", ");
    const cases = `${whole(event.size)} cases`;
    if (event.event === "birth") return `New: ${event.name} (${cases})${others ? `, out of ${others}` : ""}`;
    if (event.event === "death") return `Gone: ${event.name} (had ${cases})${others ? `; its cases went to ${others}` : ""}`;
    if (event.event === "split") return `Split: ${event.name} (${cases}) into ${others}`;
    if (event.event === "merge") return `Merged: ${event.name} (${cases}) took in ${others}`;
    return `${event.event}: ${event.name} (${cases})`;
  }

  function writeOnce() {
    byId("facts").textContent = DATA.facts;
    byId("banners").replaceChildren(...DATA.banners.map(([strong, words]) =>
      el("p", {className: "banner"}, el("strong", {}, strong), ` ${words}`)));
    byId("events").replaceChildren(...(DATA.events.length
      ? DATA.events.map((event) => el("li", {}, eventWords(event)))
      : [el("li", {}, "None: no cluster was born, died, split or merged.")]));
    byId("notes").replaceChildren(...DATA.notes.map((note) => el("li", {}, note)));
  }

  // ---- What is chosen

  function fragment() {
    const asked = new URLSearchParams();
    if (state.chosen !== null) asked.set("case", CASES.record_id[state.chosen]);
    if (state.search) asked.set("search", state.search);
    if (state.view === "3d") asked.set("view", "3d");
    if (state.cluster !== null && clusters[state.cluster].id !== null) asked.set("only", String(clusters[state.cluster].id));
    return asked.toString();
  }

  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const id = asked.get("case");
    state.chosen = placeOf.has(id) ? placeOf.get(id) : null;
    state.missing = id !== null && state.chosen === null ? id : null;
    state.search = asked.get("search") || "";
    state.view = asked.get("view") === "3d" ? "3d" : "2d";
    const wanted = clusters.find((one) => one.id !== null && String(one.id) === asked.get("only"));
    if (wanted) isolate(wanted.place);
    else if (state.cluster !== null) {
      state.cluster = null;
      state.hidden.clear();
    }
    byId("search").value = state.search;
  }

  function remember() {
    const wanted = fragment();
    if (wanted !== location.hash.slice(1)) {
      history.replaceState(null, "", wanted ? `#${wanted}` : location.pathname + location.search);
    }
  }

  function isolate(place) {
    state.cluster = place;
    state.hidden = new Set(clusters.map((one) => one.place).filter((one) => one !== place));
  }

  function only(place) {
    if (state.cluster === place) showAll();
    else {
      isolate(place);
      render();
      byId("cluster").scrollIntoView({block: "nearest"});
    }
    refocus(place, "button");
  }

  function showAll() {
    state.cluster = null;
    state.hidden.clear();
    render();
  }

  function choose(i) {
    state.chosen = i;
    state.missing = null;
    render();
    byId("case").focus({preventScroll: true});
    byId("case").scrollIntoView({block: "nearest"});
  }

  function show(view) {
    if (state.view === view) return;
    Plotly.purge("plot");
    state.view = view;
    render().then(listen);
  }

  function render() {
    const found = matching();
    byId("view-2d").setAttribute("aria-pressed", String(state.view === "2d"));
    byId("view-3d").setAttribute("aria-pressed", String(state.view === "3d"));
    writeClusters();
    writeCluster();
    writeCase();
    writeFound(found);
    remember();
    return Promise.all([drawAtlas(found), drawMap(found)]).then(() => {
      document.documentElement.dataset.ready = state.view;
      document.documentElement.dataset.drawn = String(shown());
      document.documentElement.dataset.matching = found ? String(found.length) : "";
    });
  }

  function told(event) {
    const point = event.points.find((one) => typeof one.customdata === "number");
    return point ? point.customdata : null;
  }

  // The solid map says a click while it draws, and says it as long as the button is down: what
  // draws again waits until it is done.
  let clicked = null;
  function hear(plot) {
    plot.on("plotly_click", (event) => {
      const i = told(event);
      if (i === null || i === clicked || i === state.chosen) return;
      if (clicked === null) {
        setTimeout(() => {
          const chosen = clicked;
          clicked = null;
          choose(chosen);
        });
      }
      clicked = i;
    });
    plot.on("plotly_hover", (event) => {
      const i = told(event);
      if (i === null) return;
      const cluster = clusterOf(i);
      byId("hover").replaceChildren(mark(cluster), el("strong", {}, ` ${cluster.name} `),
        short(`${CASES.record_id[i]} · ${CASES.caption[i] || word("kind", i) || ""}`, 220));
    });
  }
  const listen = () => hear(byId("plot"));

  let waiting = null;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      state.search = byId("search").value;
      render();
    }, 200);
  });
  byId("find").addEventListener("submit", (event) => event.preventDefault());
  byId("view-2d").addEventListener("click", () => show("2d"));
  byId("view-3d").addEventListener("click", () => show("3d"));
  byId("all").addEventListener("click", showAll);
  byId("none").addEventListener("click", () => {
    state.cluster = null;
    state.hidden = new Set(clusters.map((one) => one.place));
    render();
  });
  window.addEventListener("hashchange", () => {
    const before = state.view;
    read();
    if (before !== state.view) {
      Plotly.purge("plot");
      render().then(listen);
    } else render();
  });

  writeOnce();
  writeColumns();
  read();
  render().then(() => {
    listen();
    hear(byId("map"));
  });
})();
