"use strict";
// One player per utterance: the sound moves a cursor over its pictures, and a click or a key on the pictures moves the sound.

const data = JSON.parse(document.getElementById("data").textContent);
const STEP = 0.1; // seconds that an arrow key moves

function player(section, utterance) {
  const audio = section.querySelector("audio");
  const timeline = section.querySelector(".timeline");
  const cursor = section.querySelector(".cursor");
  const readout = section.querySelector(".readout");
  const speed = section.querySelector("select");
  const phones = Array.from(section.querySelectorAll(".phones span"));
  const last = utterance.entropy.length - 1;

  function frameAt(time) {
    return Math.min(Math.max(Math.round((time - data.centre) * data.rate), 0), last);
  }

  function describe(time) {
    const frame = frameAt(time);
    const place = utterance.starts.filter((start) => start <= time).length - 1;
    const phone = place >= 0 && time < utterance.end ? utterance.phones[place] : "";
    const parts = [`${time.toFixed(2)} s`];
    if (phone) parts.push(`phone ${phone}`);
    if (data.soft) parts.push(`entropy ${utterance.entropy[frame].toFixed(2)} nats, perplexity ${Math.exp(utterance.entropy[frame]).toFixed(1)}`);
    parts.push(utterance.largest[frame].map(([component, share]) => `${data.names[component] || component}: ${Math.round(100 * share)} %`).join(", "));
    phones.forEach((element, number) => element.classList.toggle("here", phone !== "" && number === place));
    return parts.join(" · ");
  }

  function show() {
    const time = Math.min(audio.currentTime, utterance.seconds);
    cursor.style.left = `${(100 * time) / utterance.seconds}%`;
    readout.textContent = describe(time);
    timeline.setAttribute("aria-valuenow", time.toFixed(2));
    timeline.setAttribute("aria-valuetext", readout.textContent);
  }

  function follow() {
    show();
    const scroll = timeline.parentElement;
    const x = cursor.offsetLeft;
    if (x < scroll.scrollLeft || x > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = x - scroll.clientWidth / 4;
    if (!audio.paused && !audio.ended) requestAnimationFrame(follow);
  }

  function seek(time) {
    audio.currentTime = Math.min(Math.max(time, 0), utterance.seconds);
    show();
  }

  function toggle() {
    if (audio.paused) audio.play();
    else audio.pause();
  }

  function seekTo(event) {
    const box = timeline.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * utterance.seconds);
  }

  timeline.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    seekTo(event);
    timeline.focus({ preventScroll: true });
    if (event.pointerType === "mouse") timeline.setPointerCapture(event.pointerId);
  });
  timeline.addEventListener("pointermove", (event) => {
    if (timeline.hasPointerCapture(event.pointerId)) seekTo(event);
  });
  timeline.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = event.shiftKey ? 1 / data.rate : STEP;
    const keys = {
      ArrowRight: () => seek(audio.currentTime + step),
      ArrowLeft: () => seek(audio.currentTime - step),
      Home: () => seek(0),
      End: () => seek(utterance.seconds),
      Enter: toggle,
      " ": toggle,
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  audio.addEventListener("play", () => {
    document.querySelectorAll("audio").forEach((other) => other !== audio && other.pause());
    follow();
  });
  for (const name of ["seeked", "timeupdate", "pause", "ended"]) audio.addEventListener(name, show);
  speed.addEventListener("change", () => { audio.playbackRate = Number(speed.value); });
  show();
}

document.querySelectorAll("section.utterance").forEach((section, number) => player(section, data.utterances[number]));
