"use strict";
// One script for all pages: what a page lacks is skipped. The state of a tomogram's page can be read from the document:
// body.dataset.drawn counts the marks on all slices after every draw.
(() => {
  const find = (selector, parent = document) => parent.querySelector(selector);
  const all = (selector, parent = document) => [...parent.querySelectorAll(selector)];
  const node = document.getElementById("data");
  if (node) startViewer(JSON.parse(node.textContent));
  all("table.sortable").forEach(makeSortable);
  all("input.filter").forEach(makeFilter);

  function startViewer(data) {
    const HALO = "rgba(0, 0, 0, 0.75)", MISSED = "#ff2828";
    const DENSE = 1500; // marks on a slice from which their outlines would cover it
    const DASHES = { plain: [], matched: [], false: [7, 4], missed: [1.5, 5] };
    const objects = data.objects.map((object, index) => prepare(object, index, data.rule));
    const kinds = { plain: true, matched: true, false: true, missed: true };
    const views = all(".view").map((figure) => prepareView(figure, data));
    let picked = null, place = null;

    function prepare(part, index, rule) {
      const row = find(`#objects [data-object="${index}"]`);
      const object = {
        ...prepareSide(part, row, 0),
        index,
        count: part.scores.length,
        isOn: true,
        isMatched: new Uint8Array(part.scores.length),
        isFound: new Uint8Array(part.truth ? part.truth[0].length : 0),
        row,
        cells: find(`#score tr[data-object="${index}"]`),
        rule,
      };
      // Of two results the second's picks are the truth of the page, and have a slider of their own.
      if (part.other) object.other = prepareSide(part.other, row, 1);
      object.sides = object.other ? [object, object.other] : [object];
      return object;
    }

    function prepareSide(part, row, number) {
      return {
        ...part,
        isFirst: true, // as the result selects, whatever the slider says
        limit: part.threshold,
        shown: new Uint8Array(part.scores.length),
        box: row && find(`[data-side="${number}"]`, row),
      };
    }

    const total = (flags) => flags.reduce((sum, one) => sum + one, 0);
    const isThere = (object, particle) => !object.other || object.other.shown[particle] === 1;

    // ---- which picks are shown, and what they are ----
    function judge(object) {
      const { isMatched, isFound, pairs, rule } = object;
      for (const { scores, shown, selected, isFirst, limit } of object.sides) {
        for (let i = 0; i < shown.length; i++) shown[i] = (isFirst ? selected[i] === "1" : scores[i] >= limit) ? 1 : 0;
      }
      isMatched.fill(0);
      isFound.fill(0);
      let hits = 0;
      if (rule && pairs) hits = rule.mode === "one-to-one" ? assign(object) : reach(object, rule.mode === "octopi");
      const picks = total(object.shown), present = object.other ? total(object.other.shown) : isFound.length;
      const counts = { picks, tp: hits, fp: picks - hits, fn: present - total(isFound) };
      const { tp, fp, fn } = counts;
      counts.precision = tp + fp > 0 ? tp / (tp + fp) : 0;
      counts.recall = tp + fn > 0 ? tp / (tp + fn) : 0;
      const square = rule ? rule.beta ** 2 : 1, bottom = square * counts.precision + counts.recall;
      counts.f = bottom > 0 ? ((1 + square) * counts.precision * counts.recall) / bottom : 0;
      object.counts = counts;
    }

    // Pairs come best first, so the first shown pick of a particle is the one that has it.
    function reach(object, isEveryOneAHit) {
      const { pairs, shown, isMatched, isFound } = object;
      let found = 0, matched = 0;
      for (let i = 0; i < pairs.length; i += 2) {
        const pick = pairs[i], particle = pairs[i + 1];
        if (!shown[pick] || (isFound[particle] && !isEveryOneAHit)) continue;
        if (!isFound[particle]) found++;
        if (!isMatched[pick]) matched++;
        isFound[particle] = isMatched[pick] = 1;
      }
      return isEveryOneAHit ? matched : found;
    }

    // As many pairs as can be, no pick and no particle twice: augmenting paths from the best pick on.
    function assign(object) {
      const { pairs, shown, isMatched, isFound } = object;
      const near = new Map(), order = [], taker = new Map();
      for (let i = 0; i < pairs.length; i += 2) {
        if (!shown[pairs[i]] || !isThere(object, pairs[i + 1])) continue;
        if (!near.has(pairs[i])) { near.set(pairs[i], []); order.push(pairs[i]); }
        near.get(pairs[i]).push(pairs[i + 1]);
      }
      const seek = (pick, seen) => near.get(pick).some((particle) => {
        if (seen.has(particle)) return false;
        seen.add(particle);
        if (taker.has(particle) && !seek(taker.get(particle), seen)) return false;
        taker.set(particle, pick);
        return true;
      });
      order.forEach((pick) => seek(pick, new Set()));
      taker.forEach((pick, particle) => { isMatched[pick] = isFound[particle] = 1; });
      return taker.size;
    }

    // ---- numbers on the page ----
    const put = (parent, selector, text) => { const cell = parent && find(selector, parent); if (cell) cell.textContent = text; };

    function tell() {
      let weighted = 0;
      const sums = { matched: 0, false: 0, missed: 0 };
      for (const object of objects) {
        const { counts, cells } = object;
        for (const side of object.sides) put(side.box, ".shown", total(side.shown));
        put(cells, ".shown", counts.picks);
        for (const field of ["tp", "fp", "fn"]) put(cells, `.${field}`, counts[field]);
        for (const field of ["precision", "recall", "f"]) put(cells, `.${field}`, counts[field].toFixed(4));
        if (!data.rule || !object.truth) continue;
        weighted += object.weight * counts.f;
        const matched = total(object.isMatched);
        sums.matched += matched;
        sums.false += counts.picks - matched;
        sums.missed += counts.fn;
      }
      for (const kind of Object.keys(sums)) put(document, `#sum-${kind}`, sums[kind]);
      const score = find("#f-beta");
      if (score && data.rule.divisor > 0) {
        score.textContent = (weighted / data.rule.divisor).toFixed(4);
        score.dataset.value = weighted / data.rule.divisor;
      }
      const isFirst = objects.every((object) => object.isFirst);
      put(document, "#where", isFirst ? "with the picks as they were selected" : "with the thresholds of the sliders");
      document.body.dataset.shown = objects.reduce((sum, object) => sum + object.counts.picks, 0);
    }

    // ---- slices ----
    function prepareView(figure, data) {
      const stack = data.stacks[Number(figure.dataset.stack)];
      const [down, across] = stack.axis === 0 ? [1, 2] : [0, 2];
      const view = {
        figure, stack, down, across, depth: stack.axis,
        slider: find(".slab", figure), image: find(".slice", figure), canvas: find("canvas", figure), marks: [],
      };
      stack.pictures = stack.pictures.map((source) => source || view.image.src);
      view.slider.addEventListener("input", () => { view.image.src = stack.pictures[view.slider.value]; draw(view); });
      view.canvas.addEventListener("click", (event) => pick(view, event));
      new ResizeObserver(() => draw(view)).observe(find(".stage", figure));
      return view;
    }

    const scale = (axis, pixels) => pixels / (data.shape[axis] * data.spacing[axis]);
    // A position is the middle of its voxel, which the picture begins half a voxel before.
    const pixel = (axis, angstrom, pixels) => (angstrom - data.origin[axis] + data.spacing[axis] / 2) * scale(axis, pixels);

    // Every mark that this slice shows: [x, y, radius, kind, object, index], in pixels of the page; radius 0 is a dot.
    function collect(view, width, height) {
      const { stack, down, across, depth } = view;
      const level = Number(view.slider.value), center = stack.centers[level];
      const middle = (a, b) => (a === undefined || b === undefined ? Infinity : Math.abs(b - a) / 2);
      // Only the xy slices lie so close that a dot is near what it stands for.
      const before = depth ? 0 : middle(stack.centers[level - 1], center), after = depth ? 0 : middle(center, stack.centers[level + 1]);
      const sx = scale(across, width);
      const marks = [];
      const add = (object, columns, i, kind) => {
        const offset = columns[depth][i] - center, distance = Math.abs(offset);
        const isCut = distance < object.radius;
        if (!isCut && !(offset < 0 ? -offset <= before : offset < after)) return;
        const radius = isCut ? Math.sqrt(object.radius ** 2 - distance ** 2) * sx : 0;
        marks.push([pixel(across, columns[across][i], width), pixel(down, columns[down][i], height), radius, kind, object, i]);
      };
      for (const object of objects) {
        if (!object.isOn) continue;
        const isCompared = data.rule && object.truth;
        for (let i = 0; i < object.count; i++) {
          const kind = !isCompared ? "plain" : object.isMatched[i] ? "matched" : "false";
          if (object.shown[i] && kinds[kind]) add(object, object.zyx, i, kind);
        }
        if (isCompared && kinds.missed) {
          for (let i = 0; i < object.isFound.length; i++) {
            if (!object.isFound[i] && isThere(object, i)) add(object, object.truth, i, "missed");
          }
        }
      }
      return marks;
    }

    function draw(view) {
      const { canvas, slider, stack } = view;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width || !height) return;
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      view.marks = collect(view, width, height);
      // One path for all marks of a stroke: ten thousand circles are drawn in a few calls.
      const groups = new Map();
      for (const mark of view.marks) {
        const key = `${mark[3]} ${mark[4].index}`;
        if (!groups.has(key)) groups.set(key, []);
        groups.get(key).push(mark);
      }
      const isDense = view.marks.length > DENSE;
      for (const marks of groups.values()) stroke(pen, marks, isDense);
      const isPicked = (mark) => picked && mark[4] === picked[4] && mark[5] === picked[5] && mark[3] === picked[3];
      view.marks.filter(isPicked).forEach((mark) => ring(pen, mark[0], mark[1], mark[2] + 6));
      if (place) ring(pen, pixel(view.across, place[view.across], width), pixel(view.down, place[view.down], height), 14);
      const words = `${"zyx"[stack.axis]} = ${Math.round(stack.centers[slider.value])} Å (${Number(slider.value) + 1} of ${stack.centers.length})`;
      put(view.figure, "output", words);
      slider.setAttribute("aria-valuetext", words);
      view.figure.dataset.drawn = view.marks.length;
      document.body.dataset.drawn = views.reduce((sum, one) => sum + one.marks.length, 0);
    }

    function stroke(pen, marks, isDense) {
      const kind = marks[0][3], color = kind === "missed" ? MISSED : marks[0][4].color;
      const circles = new Path2D(), dots = new Path2D();
      for (const [x, y, radius] of marks) {
        const path = radius ? circles : dots;
        path.moveTo(x + (radius || 2.5), y);
        path.arc(x, y, Math.max(radius, radius ? 1.5 : 2.5), 0, 2 * Math.PI);
      }
      // Dots on a dark ring stand out from grey, dots alone do not.
      pen.setLineDash(kind === "missed" ? [] : DASHES[kind]);
      pen.lineWidth = kind === "missed" ? 4.5 : 4;
      pen.strokeStyle = HALO;
      if (!isDense || kind === "missed") pen.stroke(circles);
      pen.setLineDash(DASHES[kind]);
      pen.lineCap = kind === "missed" ? "round" : "butt";
      pen.lineWidth = kind === "missed" ? 3 : isDense ? 1 : 2;
      pen.strokeStyle = color;
      pen.stroke(circles);
      pen.setLineDash([]);
      pen.lineCap = "butt";
      pen.lineWidth = 1.5;
      pen.strokeStyle = HALO;
      pen.stroke(dots);
      pen.fillStyle = color;
      pen.fill(dots);
    }

    function ring(pen, x, y, radius) {
      pen.setLineDash([]);
      pen.lineWidth = 1.5;
      pen.strokeStyle = "#ffffff";
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
    }

    function pick(view, event) {
      const box = view.canvas.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      let best = null, least = Infinity;
      for (const mark of view.marks) {
        const distance = Math.hypot(mark[0] - x, mark[1] - y);
        if (distance <= Math.max(mark[2], 8) && distance < least) [best, least] = [mark, distance];
      }
      picked = best;
      place = null;
      put(document, "#pick-text", best ? describe(best) : "Click a circle to see what it is.");
      views.forEach(draw);
    }

    function describe([, , , kind, object, i]) {
      const columns = kind === "missed" ? object.truth : object.zyx, side = kind === "missed" ? object.other : object;
      const where = [2, 1, 0].map((axis) => `${"zyx"[axis]} ${columns[axis][i].toFixed(0)}`).join(", ");
      const what = kind === "plain" ? "" : `${data.words[kind]}, `;
      const score = side ? `score ${side.scores[i].toFixed(3)}, ` : "";
      return `${object.name}: ${what}${score}${where} Å`;
    }

    // A cut-out shows where it was cut: both sliders go there, and a ring stands around the place.
    function goTo(zyx) {
      views.forEach((view) => {
        const offsets = view.stack.centers.map((center) => Math.abs(center - zyx[view.depth]));
        view.slider.value = offsets.indexOf(Math.min(...offsets));
        view.image.src = view.stack.pictures[view.slider.value];
      });
      place = zyx;
      views.forEach((view) => {
        const box = find(".scroll", view.figure);
        box.scrollLeft = pixel(view.across, zyx[view.across], view.canvas.clientWidth) - box.clientWidth / 2;
        box.scrollTop = pixel(view.down, zyx[view.down], view.canvas.clientHeight) - box.clientHeight / 2;
        draw(view);
      });
      find(".viewer").scrollIntoView({ block: "start" });
    }

    // ---- controls ----
    function update() {
      objects.forEach(judge);
      tell();
      views.forEach(draw);
    }

    function setLimit(side, limit, isFirst) {
      side.limit = limit;
      side.isFirst = isFirst;
      const slider = find(".threshold", side.box), exact = find(".exact", side.box);
      if (!slider) return;
      if (document.activeElement !== exact || isFirst) exact.value = limit.toFixed(3);
      slider.value = limit;
      slider.setAttribute("aria-valuetext", `${limit.toFixed(3)}: ${isFirst ? "as picked" : "changed"}`);
    }

    function moveTo(side, text) {
      const limit = parseFloat(text);
      if (Number.isNaN(limit)) return;
      setLimit(side, Math.min(1, Math.max(side.lowest, limit)), false);
      update();
    }

    for (const object of objects) {
      if (!object.row) continue;
      find(".on", object.row).addEventListener("change", (event) => {
        object.isOn = event.target.checked;
        views.forEach(draw);
      });
      for (const side of object.sides) {
        for (const input of all(".threshold, .exact", side.box)) {
          input.addEventListener("input", (event) => moveTo(side, event.target.value));
        }
        setLimit(side, side.threshold, true);
      }
    }
    const onClick = (id, act) => { const button = document.getElementById(id); if (button) button.addEventListener("click", act); };
    const switchAll = (isOn) => {
      objects.forEach((object) => { object.isOn = isOn; find(".on", object.row).checked = isOn; });
      views.forEach(draw);
    };
    if (views.length) all(".cutout[data-zyx]").forEach((item) => {
      item.tabIndex = 0;
      item.title = "show it on the slices";
      const go = () => goTo(item.dataset.zyx.split(",").map(Number));
      item.addEventListener("click", go);
      item.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    });
    const sides = objects.flatMap((object) => object.sides);
    onClick("reset", () => { sides.forEach((side) => setLimit(side, side.threshold, true)); update(); });
    onClick("everything", () => { sides.forEach((side) => setLimit(side, side.lowest, false)); update(); });
    onClick("all-on", () => switchAll(true));
    onClick("all-off", () => switchAll(false));
    all(".kind").forEach((box) => box.addEventListener("change", () => { kinds[box.dataset.kind] = box.checked; views.forEach(draw); }));
    const display = () => {
      const value = (id) => Number(document.getElementById(id).value);
      const filter = `contrast(${value("contrast")}) brightness(${value("brightness")})${find("#invert").checked ? " invert(1)" : ""}`;
      views.forEach((view) => { view.image.style.filter = filter; find(".stage", view.figure).style.setProperty("--zoom", value("zoom")); });
    };
    all(".display input, .display select").forEach((input) => input.addEventListener("input", display));
    update();
  }

  // ---- tables of the summary ----
  function makeSortable(table) {
    const body = find("tbody", table);
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const isUp = head.getAttribute("aria-sort") === "descending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
        const value = (row) => { const text = row.cells[column].dataset.value ?? row.cells[column].textContent; const number = parseFloat(text); return column && !Number.isNaN(number) ? number : text; };
        const rows = [...body.rows].map((row) => [value(row), row]);
        const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
        rows.sort((one, other) => (isUp ? 1 : -1) * compare(one[0], other[0]));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  function makeFilter(input) {
    const rows = all("tbody tr", document.getElementById(input.dataset.table));
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    });
  }
})();
