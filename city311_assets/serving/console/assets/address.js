// A page's controls and its address, both ways; see console/url_state.py.
window.city311 = {
  keepInAddress(spec, given) {
    const leave = window.dash_clientside.no_update;
    const count = spec.controls.length;
    const [search, pathname] = [given[0], given[count + 1]];
    const values = given.slice(1, count + 1);
    const none = Array(count + 1).fill(leave);
    if (pathname !== spec.path) return none;
    const by = window.dash_clientside.callback_context.triggered.map((one) => one.prop_id);
    const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
    if (by.length === 1 && by[0].endsWith("-url.search")) {
      const asked = new URLSearchParams(search || "");
      return [leave].concat(spec.controls.map((one, place) => {
        let value = one.default;
        if (asked.has(one.name)) {
          value = one.kind === "list"
            ? asked.getAll(one.name).filter((text) => text !== "")
            : one.kind === "number" && asked.get(one.name) !== ""
                && Number.isFinite(Number(asked.get(one.name)))
              ? Number(asked.get(one.name))
              : asked.get(one.name);
        }
        return same(value, values[place]) ? leave : value;
      }));
    }
    const asked = new URLSearchParams();
    spec.controls.forEach((one, place) => {
      const value = values[place];
      if (value === null || value === undefined || same(value, one.default)) return;
      if (one.kind !== "list") asked.append(one.name, value);
      else if (value.length === 0) asked.append(one.name, "");
      else value.forEach((item) => asked.append(one.name, item));
    });
    const text = asked.toString();
    const newer = text ? "?" + text : "";
    return [newer === (search || "") ? leave : newer].concat(Array(count).fill(leave));
  },
};
