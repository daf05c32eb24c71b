// What the hotspots page does in the browser; see hotspots/asking.py and hotspots/parts.py.
window.city311Hotspots = {
  // Ask for each panel that is in view and whose key has changed since it was last asked for.
  ask(panels, given) {
    const leave = window.dash_clientside.no_update;
    const [selection, seen, measure, records, rows, ...asked] = given;
    // What fits a map is known only where it is drawn.
    this.width ??= window.innerWidth;
    const own = { measure, records, rows, width: this.width };
    if (!selection || selection.nothing) return panels.map(() => leave);
    return panels.map((panel, place) => {
      const idle = panel.needs && !own[panel.needs];
      const with_ = Object.fromEntries(panel.with.map((name) => [name, own[name]]));
      const key = idle ? "" : JSON.stringify([selection.keys[panel.name], with_]);
      this.wanted[panel.name] = key;
      this.mark(panel.name);
      if (key === (asked[place]?.key ?? "")) return leave;
      if (!idle && !panel.needs && !(seen || []).includes(panel.name)) return leave;
      return { ...with_, key, values: selection.values };
    });
  },

  // The key of what each panel ought to show.
  wanted: {},

  content(name) {
    return document.getElementById(`hotspots-${name}-frame`)
      || document.getElementById(`hotspots-${name}`);
  },

  // What is of the selection before is pale until its answer is there.
  mark(name) {
    const content = this.content(name);
    const stale = Boolean(this.wanted[name]) && content?.dataset.of !== this.wanted[name];
    content?.toggleAttribute("data-stale", stale);
    content?.setAttribute("aria-busy", stale);
  },

  // Watch which panels are in view or nearly so, and fill the tables that come into them.
  watch(panels) {
    this.views?.disconnect();
    this.contents?.forEach((one) => one.disconnect());
    this.contents = [];
    this.wanted = {};
    const seen = new Set();
    let told = "";
    let later;
    const tell = () => {
      const now = [...seen].sort();
      if (now.join() === told || !document.getElementById("hotspots-body")) return;
      told = now.join();
      window.dash_clientside.set_props("hotspots-seen", { data: now });
    };
    this.views = new IntersectionObserver(
      (changes) => {
        changes.forEach((one) => {
          const name = one.target.dataset.panel;
          if (one.isIntersecting) seen.add(name);
          else seen.delete(name);
        });
        clearTimeout(later);
        later = setTimeout(tell, 50);
      },
      { rootMargin: "200px 0px" },
    );
    panels.forEach((panel) => {
      const content = this.content(panel.name);
      if (!content) return;
      const shown = content.closest("section") || content;
      // What is in a folded part is asked for when it is opened.
      const target = content.closest("details") ? content : shown;
      target.dataset.panel = panel.name;
      if (!panel.needs) this.views.observe(target);
      const changed = new MutationObserver(() => {
        this.fill(content);
        this.mark(panel.name);
      });
      changed.observe(content, {
        subtree: true, childList: true, attributes: true,
        attributeFilter: ["data-table", "data-of"],
      });
      this.contents.push(changed);
    });
    return [];
  },

  fill(within) {
    within.querySelectorAll("[data-table], [data-filled]").forEach((one) => {
      const { table, filled } = one.dataset;
      if (table === filled) return;
      // Dash takes a place again for something else: the table that was made there goes.
      one.querySelectorAll(":scope > table").forEach((old) => old.remove());
      delete one.dataset.filled;
      if (table === undefined) return;
      one.dataset.filled = table;
      const made = this.table(JSON.parse(table));
      one.append(made);
      // Who goes through the links by keys goes on from where they were.
      if (this.followed?.content !== within) return;
      made.rows[this.followed.row]?.querySelector("a")?.focus({ preventScroll: true });
      this.followed = undefined;
    });
  },

  // Texts are texts: nothing is read as HTML.
  table({ caption, heads, rows, texts }) {
    const make = (tag, text, props = {}) =>
      Object.assign(document.createElement(tag), text === null ? {} : { textContent: text }, props);
    const kind = (place) => (place < texts ? "text" : "number");
    const table = make("table", null, { className: "plain" });
    table.append(make("caption", caption, { className: "hotspots-unseen" }));
    const head = table.createTHead().insertRow();
    heads.forEach((text, place) =>
      head.append(make("th", text, { scope: "col", className: kind(place) })),
    );
    const body = table.createTBody();
    rows.forEach((row) => {
      const line = body.insertRow();
      row.forEach((cell, place) => {
        const at = line.insertCell();
        at.className = kind(place);
        if (typeof cell === "string") at.textContent = cell;
        else if (cell.outside) {
          at.append(
            make("a", cell.text, { href: cell.href, target: "_blank", rel: "noopener noreferrer" }),
          );
        } else {
          const link = make("a", cell.text, { href: cell.href });
          link.addEventListener("click", (event) => this.follow(event, link));
          at.append(link);
        }
      });
    });
    return table;
  },

  follow(event, link) {
    const other = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
    if (other || link.pathname !== window.location.pathname) return;
    event.preventDefault();
    window.dash_clientside.set_props("hotspots-url", { search: link.search });
    // One hour after the other is chosen where they are listed.
    const content = link.closest("#hotspots-choices");
    if (!content) window.scrollTo(0, 0);
    else if (event.detail === 0) this.followed = { content, row: link.closest("tr").rowIndex };
  },

  async copy(clicks, search) {
    const by = window.dash_clientside.callback_context.triggered.map((one) => one.prop_id);
    if (!clicks || !by.includes("hotspots-copy.n_clicks")) return "";
    const records = new URLSearchParams(window.location.search).get("records");
    const more = records ? `&records=${encodeURIComponent(records)}` : "";
    const link = window.location.origin + window.location.pathname + search + more;
    try {
      await window.navigator.clipboard.writeText(link);
      return "Copied; it keeps to these days.";
    } catch {
      return `This browser does not let a page copy. Copy it from here: ${link}`;
    }
  },
};
