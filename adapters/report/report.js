(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures-data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const overTime = ["equity", "price", "exposure", "pnl"];
  const chosen = {};
  const root = document.documentElement;

  const color = (word) => {
    const [name, opacity] = word.slice(1).split("/");
    const [r, g, b] = getComputedStyle(root).getPropertyValue("--" + name).trim().split(/\s+/);
    return `rgba(${r},${g},${b},${opacity || 1})`;
  };

  // plotly reads numbers on a date axis as local time; text without a zone is taken as it stands, so UTC stays UTC.
  const unpack = (packed) => new Float64Array(Uint8Array.from(atob(packed), (c) => c.charCodeAt(0)).buffer);
  const times = (packed) => Array.from(unpack(packed), (ms) => new Date(ms).toISOString().slice(0, -1));

  const themed = (value) => {
    if (typeof value === "string") return /^@[a-z]+(\/[\d.]+)?$/.test(value) ? color(value) : value;
    if (Array.isArray(value)) return value.map(themed);
    if (value === null || typeof value !== "object") return value;
    if (value.bdata) return unpack(value.bdata);
    if (value.ms) return times(value.ms);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item)]));
  };

  const axis = (given) => ({
    gridcolor: color("@grid"), zerolinecolor: color("@line"), linecolor: color("@line"), zeroline: false,
    showspikes: false, spikecolor: color("@muted"), spikethickness: 1, spikedash: "solid", tickfont: { color: color("@muted"), size: 11 }, ...given,
  });

  const layout = (figure, narrow) => {
    const given = themed(figure.layout);
    const family = getComputedStyle(document.body).fontFamily;
    const axes = Object.fromEntries(Object.keys(given).filter((key) => /^[xy]axis/.test(key)).map((key) => {
      const dated = given[key].type === "date" ? { hoverformat: "%Y-%m-%d %H:%M" } : {};
      const own = key[0] === "y" ? { fixedrange: "xaxis" in given && given.xaxis.type === "date" } : { showgrid: false, showline: true, ticks: "outside", ticklen: 4, tickcolor: color("@line"), showspikes: given.hovermode === "x unified", ...dated };
      return [key, axis({ ...own, ...given[key] })];
    }));
    const annotations = (given.annotations || []).map((a) => ({
      showarrow: false, font: { color: color("@muted"), size: 11 }, ...a, x: 0, xanchor: "left", xshift: -(narrow ? 50 : 58),
    }));
    return {
      showlegend: true, autosize: true, paper_bgcolor: color("@paper"), plot_bgcolor: color("@paper"), dragmode: "zoom",
      font: { family, size: 12, color: color("@ink") },
      margin: { l: narrow ? 50 : 58, r: 6, t: 30, b: 38 },
      hoverlabel: { bgcolor: color("@raised"), bordercolor: color("@line"), font: { family, color: color("@ink"), size: 12 }, align: "left" },
      ...given, ...axes, annotations,
      legend: {
        orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)",
        font: { size: 11, color: color("@muted") }, ...given.legend,
      },
    };
  };

  const draw = (plot) => {
    const variants = figures[plot.dataset.figure];
    if (!variants) return null;
    const figure = variants[chosen[plot.dataset.figure] || 0];
    const options = { displayModeBar: false, displaylogo: false, responsive: true, doubleClick: "reset" };
    return Plotly.react(plot, figure.data.map(themed), layout(figure, plot.clientWidth < 480), options).then(() => look(plot));
  };

  // Charts over time look at one stretch together; their value axes fit what is visible of it.
  let view = null;
  let looking = false;
  const fitted = (plot, axisName, from, to) => {
    const id = axisName.replace("axis", "");
    let low = /tozero/.test(plot.layout[axisName].rangemode) ? 0 : Infinity, high = low === 0 ? 0 : -Infinity;
    for (const trace of plot.data) {
      if ((trace.yaxis || "y") !== id || trace.visible === "legendonly") continue;
      for (let i = 0; i < trace.x.length; i++) {
        const value = trace.y[i];
        if (trace.x[i] < from || trace.x[i] > to || isNaN(value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    const room = 0.05 * (high - low);
    return high > low ? [low === 0 ? 0 : low - room, high === 0 ? 0 : high + room] : null;
  };
  const look = async (plot) => {
    if (!view || !overTime.includes(plot.dataset.figure)) return;
    const change = { "xaxis.range": [...view] };
    for (const name of Object.keys(plot.layout).filter((key) => key.startsWith("yaxis"))) {
      const range = fitted(plot, name, ...view);
      if (range) change[name + ".range"] = range;
    }
    await Plotly.relayout(plot, change);
  };
  const follow = (source) => source.on("plotly_relayout", async (event) => {
    if (looking) return;
    const [from, to] = event["xaxis.range"] || [event["xaxis.range[0]"], event["xaxis.range[1]"]];
    if (from === undefined) return;
    view = [from, to].map((moment) => String(moment).replace(" ", "T"));
    looking = true;
    try { await Promise.all(plots.filter((plot) => figures[plot.dataset.figure]).map(look)); } finally { looking = false; }
  });

  const drawAll = () => plots.forEach(draw);
  drawAll();
  plots.filter((plot) => overTime.includes(plot.dataset.figure) && figures[plot.dataset.figure]).forEach(follow);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  document.querySelectorAll(".tabs").forEach((tabs) => {
    const buttons = [...tabs.querySelectorAll("button")];
    buttons.forEach((button, place) => button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-selected", String(other === button)));
      chosen[tabs.dataset.for] = place;
      draw(plots.find((plot) => plot.dataset.figure === tabs.dataset.for));
    }));
  });

  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    const key = (row, place) => {
      const cell = row.cells[place];
      return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
    };
    heads.forEach((head, place) => head.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "descending" ? 1 : head.getAttribute("aria-sort") === "ascending" ? -1 : head.classList.contains("num") ? -1 : 1;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const x = key(a, place), y = key(b, place);
        return way * (x < y ? -1 : x > y ? 1 : 0);
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    }));
  });
})();
