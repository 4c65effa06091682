// One slider moves the pictures of all runs; without it the first and the last step are shown.
(() => {
  const pictures = JSON.parse(document.getElementById("pictures").textContent);
  const slider = document.getElementById("step");
  if (!slider) return;
  const output = document.getElementById("step-shown");
  const series = pictures.series.map((each, i) => {
    const image = document.getElementById(`p${i}`);
    const first = document.getElementById(`p${i}-first`) || image;
    const uris = each.uris.slice();
    uris[0] = first.getAttribute("src");
    uris[uris.length - 1] = image.getAttribute("src");
    return {...each, uris, image, caption: document.getElementById(`p${i}-at`)};
  });
  const words = step => step.toLocaleString("en");
  const show = () => {
    const step = pictures.steps[slider.value];
    output.textContent = words(step);
    slider.setAttribute("aria-valuetext", `step ${words(step)}`);
    for (const {steps, uris, image, caption, alt} of series) {
      let at = 0;
      while (at + 1 < steps.length && steps[at + 1] <= step) at++;
      image.src = uris[at];
      image.alt = `${alt} ${words(steps[at])}`;
      caption.textContent = `step ${words(steps[at])}`;
    }
  };
  document.documentElement.classList.add("js");
  document.getElementById("slider").hidden = false;
  slider.addEventListener("input", show);
  show();
})();
