"use strict";
const method = document.getElementById("method"), opacity = document.getElementById("opacity");
function choose() {
  for (const part of document.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== method.value;
}
if (method) { method.addEventListener("change", choose); choose(); }
if (opacity) opacity.addEventListener("input", () => document.documentElement.style.setProperty("--opacity", opacity.value / 100));
