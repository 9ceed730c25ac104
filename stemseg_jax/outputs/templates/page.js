"use strict";

// Safari plays no video out of an address that is the video itself.
for (const video of document.querySelectorAll("video")) {
  fetch(video.src).then((answer) => answer.blob()).then((blob) => {
    video.src = URL.createObjectURL(blob);
  });
}

// A click on the name of a column sorts by it, the next one the other way round. What
// has no value stays at the end.
for (const table of document.querySelectorAll(".sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("button")?.closest("th");
    if (!head) return;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const of = (row) => row.cells[head.cellIndex];
    const known = (row) => of(row).textContent.trim() !== "–";
    const compare = (a, b) => {
      const [one, other] = [of(a).dataset.value, of(b).dataset.value];
      if (one !== undefined && other !== undefined) return one - other;
      return of(a).textContent.localeCompare(of(b).textContent, undefined, { numeric: true });
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) =>
      known(b) - known(a) || (down ? -1 : 1) * compare(a, b));
    table.tBodies[0].append(...rows);
  });
}

// A click on a time line goes to that time; a line shows where the video is.
for (const timeline of document.querySelectorAll(".timeline")) {
  const film = document.getElementById(timeline.dataset.film);
  if (!film) continue;
  timeline.addEventListener("click", (event) => {
    const box = event.target.closest(".bar")?.getBoundingClientRect();
    if (box && film.duration) film.currentTime = (event.clientX - box.left) / box.width * film.duration;
  });
  const show = () => timeline.style.setProperty("--now", film.currentTime / film.duration || 0);
  const follow = () => {
    show();
    if (!film.paused) requestAnimationFrame(follow);
  };
  film.addEventListener("play", follow);
  film.addEventListener("seeking", show);
}

// A curve says the value that is nearest to the pointer.
for (const plot of document.querySelectorAll(".plot")) {
  const points = JSON.parse(plot.dataset.points);
  const [picture, mark, said] = ["svg", ".mark", "output"].map((x) => plot.querySelector(x));
  const last = said.textContent;
  const [begin, end] = [points[0][0], points[points.length - 1][0]];
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = begin + (event.clientX - box.left) / box.width * (end - begin);
    const [step, value] = points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
    said.textContent = `${step}: ${value}`;
    mark.setAttribute("d", `M${1000 * (step - begin) / Math.max(end - begin, 1)} 0v1000`);
  });
  picture.addEventListener("pointerleave", () => {
    said.textContent = last;
    mark.setAttribute("d", "");
  });
}

// Options that hold what is looked for.
for (const search of document.querySelectorAll("details input")) {
  search.addEventListener("input", () => {
    for (const row of search.parentElement.querySelectorAll("tr"))
      row.hidden = !row.textContent.toLowerCase().includes(search.value.toLowerCase());
  });
}
