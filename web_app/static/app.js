// The page of the web app. Plain JavaScript: nothing is loaded from elsewhere, nothing is stored, text goes in by textContent only.
const $ = id => document.getElementById(id);
const MAX_HISTORY = 12;   // images that this visit remembers
const MAX_WAITS = 5;      // times in a row that a busy server is asked again without anybody pressing a button

let info = {model: null, limits: {max_bytes: 10485760, max_beam_size: 10, formats: []}, key_required: false};   // until GET /info answers
let key = '';             // the API key, if one was needed
let shown = null;         // what is on the stage: {file, url, result, chosen, item}
let job = null;           // the request that runs, or the wait for the next try: an AbortController
let timer = 0;            // of that wait
let retry = null;         // what the button in the notice does
let history = [];         // entries with a result, newest first
let active = -1;          // the word whose heat map is on the image
let touched = false;      // were the settings changed by hand?

// ---------------------------------------------------------------- small things

function announce(text) {           // to screen readers; emptied first, so that the same words are said again
  $('live').textContent = '';
  setTimeout(() => { $('live').textContent = text; }, 60);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(p) {
  const x = 100 * p;
  return x > 99.5 && x < 100 ? 'over 99 %' : x >= 9.95 ? `${x.toFixed(0)} %` : x >= 0.001 ? `${Number(x.toPrecision(2))} %` : 'under 0.001 %';
}

const megabytes = bytes => `${(bytes / 2 ** 20).toFixed(1).replace('.0', '')}\u00a0MB`;
const seconds = n => n >= 120 ? `${Math.ceil(n / 60)} min` : `${n} s`;

// ---------------------------------------------------------------- the image

function refusal(file) {            // why a file is not worth sending, or null
  const {max_bytes, formats} = info.limits;
  if (file.type && !file.type.startsWith('image/'))
    return `“${file.name}” is not an image.` + (formats.length ? ` The server reads ${formats.join(', ')}.` : '');
  if (!file.size) return `“${file.name}” is empty.`;
  if (file.size > max_bytes) return `This image has ${megabytes(file.size)}; the server takes at most ${megabytes(max_bytes)}. It was not sent.`;
  return null;
}

function take(files) {
  const file = files[0], problem = refusal(file);
  stop();
  if (problem) return showNotice(problem);
  show({file, url: URL.createObjectURL(file), result: null, chosen: 0, item: null});
  caption(shown);
  if (files.length > 1 && $('key-form').hidden) showNotice('One image at a time: this is the first of those you gave.');
}

function show(entry) {              // put an image on the stage, with its caption if it has one
  if (shown && shown !== entry && !shown.item) URL.revokeObjectURL(shown.url);
  shown = entry;
  $('invite').hidden = true;
  $('figure').hidden = $('again').hidden = false;
  $('no-preview').hidden = true;
  $('preview').hidden = false;
  $('preview').alt = entry.file.name ? `Your image, ${entry.file.name}` : 'Your image';
  $('preview').src = entry.url;
  for (const other of history) other.item.firstChild.setAttribute('aria-current', String(other === entry));
  render();
}

function shape(width, height) { $('figure').style.setProperty('--ratio', width / height || 4 / 3); }

function unshowable() {             // a format that the server reads and this browser does not, such as TIFF
  $('preview').hidden = true;
  $('no-preview').hidden = false;
  if (shown.result) shape(shown.result.image.width, shown.result.image.height); else shape(4, 3);
}

// ---------------------------------------------------------------- the request

async function caption(entry, waits = 0) {
  stop();
  hideNotice();
  if (!info.model) getInfo();
  if (info.key_required && !key) return askKey('This server wants an API key.', entry);
  const mine = job = new AbortController();
  $('busy').hidden = false;
  try {
    const result = await post(entry.file, mine.signal);
    await $('preview').decode().catch(() => {});     // the thumbnail is drawn from it
    if (job !== mine) return;
    stop();
    entry.result = result;
    entry.chosen = 0;
    remember(entry);
    render();
    announce(`Caption: ${result.caption}.`);
  } catch (error) {
    if (job !== mine) return;                          // cancelled, or another image took its place
    stop();
    failed(error, entry, waits);
  }
}

async function post(file, signal) {
  const form = new FormData();
  form.append('file', file, file.name || 'image');
  form.append('beam_size', $('beam').value);
  form.append('n_best', $('count').value);
  form.append('attention', 'true');
  const reply = await fetch('caption', {method: 'POST', body: form, signal, headers: key ? {'X-API-Key': key} : {}});
  const answer = await reply.json().catch(() => null);
  if (reply.ok && answer) return answer;
  const {code = '', message = `The server answered with an error (${reply.status}).`} = answer?.error ?? {};
  throw Object.assign(new Error(message), {status: reply.status, code, wait: Number(reply.headers.get('Retry-After')) || 5});
}

function failed(error, entry, waits) {
  const again = () => caption(entry);
  if (error.status === 401) {
    key = '';
    askKey(error.code === 'wrong_key' ? 'The server did not accept this key.' : 'This server wants an API key.', entry);
  } else if (error.status === 429 || error.status === 503) {
    showNotice(error.message, {label: 'Try now', action: again});
    if (waits < MAX_WAITS) wait(error.wait, () => caption(entry, waits + 1));
  } else if (!error.status) {
    const text = navigator.onLine ? 'The server did not answer. It may be down, or the connection was lost.' : 'You are offline. The image is sent when you are back.';
    showNotice(text, {label: 'Try again', action: again});
    addEventListener('online', () => { if (retry === again) again(); }, {once: true});
  } else {
    showNotice(error.message, error.status >= 500 || error.status === 408 ? {label: 'Try again', action: again} : {});
  }
}

function wait(time, then) {         // count down in the notice, then go on
  const end = Date.now() + 1000 * time, mine = job = new AbortController();
  const tick = () => {
    if (job !== mine) return;
    const left = Math.ceil((end - Date.now()) / 1000);
    $('countdown').textContent = `Trying again in ${seconds(left)}.`;
    if (left <= 0) then();
  };
  $('countdown').hidden = false;
  timer = setInterval(tick, 250);
  tick();
  announce(`Trying again in ${seconds(time)}.`);
}

function stop() {                   // end what runs or waits; whoever awaits it sees that the job is no longer theirs
  const old = job;
  job = null;
  old?.abort();
  clearInterval(timer);
  if (document.activeElement === $('cancel')) $('file').focus();
  $('busy').hidden = true;
}

async function getInfo() {
  try {
    const reply = await fetch('info');
    if (!reply.ok) return;
    info = await reply.json();
  } catch { return; }
  const {model, defaults, limits} = info;
  $('model').textContent = `Model ${model.signature.slice(0, 12)}: ${model.encoder} and ${model.decoder}, ${model.vocabulary.toLocaleString('en')} words.`;
  $('limits').textContent = `${limits.formats.join(', ')}, up to ${megabytes(limits.max_bytes)}`;
  $('beam').max = limits.max_beam_size;
  if (!touched) $('beam').value = defaults.beam_size;
  settings();
}

// ---------------------------------------------------------------- messages

function showNotice(text, {label = '', action = null} = {}) {
  $('problem').textContent = text;
  $('retry').textContent = label;
  $('retry').hidden = !action;
  $('key-form').hidden = $('countdown').hidden = true;
  retry = action;
  $('notice').hidden = false;
}

function askKey(text, entry) {
  showNotice(text, {action: () => caption(entry)});
  $('retry').hidden = true;
  $('key-form').hidden = false;
  $('key').value = '';
  $('key').focus();
}

function hideNotice() {
  const inside = $('notice').contains(document.activeElement);
  $('notice').hidden = true;
  $('problem').textContent = '';
  retry = null;
  if (inside) $('file').focus();    // rather than nowhere
}

// ---------------------------------------------------------------- the caption

function render() {
  const {result, chosen} = shown;
  look(-1);
  $('words').replaceChildren();
  $('result').hidden = $('copy').hidden = $('facts').hidden = !result;
  $('candidates').hidden = !(result?.n_best?.length > 1);
  $('copy').textContent = 'Copy caption';
  if (!result) return;
  if (!$('preview').naturalWidth) shape(result.image.width, result.image.height);
  const best = chosen === 0, finished = best ? result.finished : result.n_best[chosen].finished;
  const words = best ? result.words : result.n_best[chosen].caption.split(' ').map(word => ({word}));
  words.forEach((word, i) => $('words').append(i ? ' ' : '', wordElement(word, i)));
  if (!finished) $('words').append(element('span', 'unfinished', ' …'));
  $('words').setAttribute('aria-label', 'The caption, word by word: arrow keys move');
  $('facts').textContent = `log-probability ${(best ? result : result.n_best[chosen]).log_prob.toFixed(2).replace('-', '−')}`
    + (finished ? '' : ', cut off at the longest length') + (best ? `, ${(result.timing.total_ms / 1000).toFixed(2)} s` : '');
  renderCandidates(result, chosen);
  readout();
}

function wordElement({word, prob}, i) {
  const made = element('button', 'word', word);
  made.type = 'button';
  made.tabIndex = i ? -1 : 0;
  if (prob !== undefined) {
    made.classList.add('sure');
    made.style.setProperty('--sure', prob);
    made.setAttribute('aria-label', `${word}, ${percent(prob)} sure`);
  }
  made.addEventListener('focus', () => { for (const other of wordElements()) other.tabIndex = other === made ? 0 : -1; look(i); });
  made.addEventListener('blur', () => look(-1));
  made.addEventListener('pointerenter', event => { if (event.pointerType === 'mouse') look(i); });
  made.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') look(wordElements().indexOf(document.activeElement)); });
  made.addEventListener('click', () => { made.focus(); look(i); });    // a tap focuses nothing in some browsers
  return made;
}

const wordElements = () => [...$('words').querySelectorAll('.word')];

function moveBetweenWords(event) {
  const all = wordElements(), at = all.indexOf(document.activeElement);
  const to = {ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1}[event.key];
  if (event.key === 'Escape') look(-1);
  if (to === undefined || at < 0) return;
  event.preventDefault();
  all[to]?.focus();
}

function readout() {                // the line under the caption
  const {result, chosen} = shown, attends = result.words.some(word => word.attention);
  const word = chosen ? undefined : result.words[active];
  $('readout').textContent = chosen ? 'Of the other candidates only the text and its probability are known.'
    : word ? `“${word.word}”: ${percent(word.prob)} sure` + (word.attention ? '; the image is lit where the model looked.' : '.')
    : attends ? 'The line under a word shows how sure the model was. Point at a word, or tap it, to see where it looked.'
    : 'The line under a word shows how sure the model was. This model does not say where it looked.';
}

function renderCandidates({n_best}, chosen) {
  const rows = (n_best ?? []).map((candidate, i) => {
    const row = element('li'), pick = element('button', 'candidate');
    pick.type = 'button';
    pick.setAttribute('aria-pressed', String(i === chosen));
    const text = element('span', '', candidate.caption + (candidate.finished ? '' : ' …'));
    pick.append(text, ' ', element('span', 'facts', percent(Math.exp(candidate.log_prob))));
    pick.addEventListener('click', () => {
      shown.chosen = i;
      render();
      $('candidate-list').children[i].firstChild.focus();
      announce(`Caption: ${candidate.caption}.`);
    });
    row.append(pick);
    return row;
  });
  $('candidate-list').replaceChildren(...rows);
}

async function copyCaption() {
  const {result, chosen} = shown, text = chosen ? result.n_best[chosen].caption : result.caption;
  let done = true;
  try { await navigator.clipboard.writeText(text); } catch { done = copyBySelection(text); }   // plain http has no clipboard API
  $('copy').textContent = done ? 'Copied' : 'Not copied';
  announce(done ? 'Caption copied.' : 'The browser did not allow copying.');
  setTimeout(() => { $('copy').textContent = 'Copy caption'; }, 2000);
}

function copyBySelection(text) {
  const box = element('textarea', 'unseen');
  box.value = text;
  document.body.append(box);
  box.select();
  const done = document.execCommand('copy');
  box.remove();
  $('copy').focus();
  return done;
}

// ---------------------------------------------------------------- the heat map

function look(i) {                  // lay over the image where the model looked for word i; -1 takes it away
  active = i;
  const word = shown?.result && !shown.chosen ? shown.result.words[i] : undefined;
  wordElements().forEach((made, j) => made.classList.toggle('active', j === i));
  $('heat').classList.toggle('on', Boolean(word?.attention));
  if (word?.attention) drawHeat(word.attention, shown.result.view, shown.result.map_view);
  if (shown?.result) readout();
}

function drawHeat(grid, view, mapView = view) {   // the map lies in mapView, and is drawn over all of view
  const canvas = $('heat'), scale = Math.min(window.devicePixelRatio || 1, 2), pen = canvas.getContext('2d');
  const width = canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  const [left, top, right, bottom] = view.map((x, i) => x * (i % 2 ? height : width));
  pen.fillStyle = 'rgba(8, 9, 16, .78)';               // what the model did not see
  pen.fillRect(0, 0, width, height);
  pen.clearRect(left, top, right - left, bottom - top);
  pen.imageSmoothingQuality = 'high';
  const part = view.map((x, i) => (x - mapView[i % 2]) / (mapView[i % 2 + 2] - mapView[i % 2]));   // view in the map's own measure
  pen.drawImage(heatPicture(grid, part), left, top, right - left, bottom - top);
}

function heatPicture(grid, part, size = 112) {
  const field = enlarge(grid, part, size).flat(), even = 1 / (grid.length * grid[0].length);
  const hottest = Math.max(...field, 3 * even);        // a model that looks everywhere alike is not drawn as if it looked hard
  const canvas = Object.assign(document.createElement('canvas'), {width: size, height: size}), pen = canvas.getContext('2d');
  const pixels = pen.createImageData(size, size);
  field.forEach((value, i) => pixels.data.set(heatColour(Math.max(0, value) / hottest), 4 * i));
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

const HEAT = [[12, 14, 44, 150], [66, 26, 104, 138], [220, 86, 58, 116], [255, 208, 98, 100]];   // red, green, blue, opacity from cold to hot

function heatColour(heat) {
  const x = heat * (HEAT.length - 1), i = Math.min(Math.floor(x), HEAT.length - 2), t = x - i;
  return HEAT[i].map((low, c) => low + t * (HEAT[i + 1][c] - low));
}

function enlarge(grid, [left, top, right, bottom], size) {      // by cubic B-splines along the rows, then along the columns: smooth, and never below zero
  const turn = rows => rows[0].map((_, i) => rows.map(row => row[i]));
  return turn(turn(grid.map(row => stretch(row, left, right, size))).map(column => stretch(column, top, bottom, size)));
}

function stretch(row, from, to, size) {
  return Array.from({length: size}, (_, i) => {
    const x = (from + (i + .5) / size * (to - from)) * row.length - .5, k = Math.floor(x), t = x - k;
    const weights = [(1 - t) ** 3, 3 * t ** 3 - 6 * t * t + 4, -3 * t ** 3 + 3 * t * t + 3 * t + 1, t ** 3];
    return weights.reduce((sum, weight, j) => sum + weight / 6 * row[Math.max(0, Math.min(row.length - 1, k + j - 1))], 0);
  });
}

// ---------------------------------------------------------------- settings and history

function settings() {
  $('count').max = $('beam').value;                    // the browser lowers the value with it
  $('beam-out').textContent = $('beam').value;
  $('count-out').textContent = $('count').value;
}

function remember(entry) {
  if (!entry.item) {
    const pick = element('button', 'past');
    entry.item = element('li');
    pick.type = 'button';
    pick.append(thumbnail(), element('span'));
    pick.addEventListener('click', () => {
      stop();
      hideNotice();
      show(entry);
      announce(`Brought back: ${entry.result.caption}.`);
    });
    entry.item.append(pick);
    $('history-list').prepend(entry.item);
    history.unshift(entry);
    for (const old of history.splice(MAX_HISTORY)) {
      URL.revokeObjectURL(old.url);
      old.item.remove();
    }
  }
  entry.item.querySelector('span').textContent = entry.result.caption;
  for (const other of history) other.item.firstChild.setAttribute('aria-current', String(other === entry));
  $('history').hidden = false;
}

function thumbnail(size = 144) {    // the middle of the preview, as a square
  const image = $('preview'), canvas = Object.assign(document.createElement('canvas'), {width: size, height: size});
  const side = Math.min(image.naturalWidth, image.naturalHeight);
  canvas.setAttribute('aria-hidden', 'true');
  if (side) canvas.getContext('2d').drawImage(image, (image.naturalWidth - side) / 2, (image.naturalHeight - side) / 2, side, side, 0, 0, size, size);
  return canvas;
}

// ---------------------------------------------------------------- what people do

for (const input of [$('file'), $('camera')])
  input.addEventListener('change', () => { if (input.files.length) take([...input.files]); input.value = ''; });

const carriesFiles = event => [...(event.dataTransfer?.types ?? [])].includes('Files');
addEventListener('dragover', event => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  $('stage').classList.add('dragging');
});
addEventListener('dragleave', event => { if (!event.relatedTarget) $('stage').classList.remove('dragging'); });
addEventListener('drop', event => {
  $('stage').classList.remove('dragging');
  if (!carriesFiles(event)) return;
  event.preventDefault();
  if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
});
addEventListener('paste', event => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  take(files);
});

$('preview').addEventListener('load', () => shape($('preview').naturalWidth, $('preview').naturalHeight));
$('preview').addEventListener('error', unshowable);
$('words').addEventListener('keydown', moveBetweenWords);
$('copy').addEventListener('click', copyCaption);
$('again').addEventListener('click', () => caption(shown));
$('retry').addEventListener('click', () => retry?.());
$('dismiss').addEventListener('click', () => { if (!$('countdown').hidden) stop(); hideNotice(); });
$('cancel').addEventListener('click', () => {
  const entry = shown;
  stop();
  showNotice('Cancelled.', {label: 'Try again', action: () => caption(entry)});
  $('retry').focus();
});
$('key-form').addEventListener('submit', event => { event.preventDefault(); key = $('key').value.trim(); if (key) retry?.(); });
for (const id of ['beam', 'count']) $(id).addEventListener('input', () => { touched = true; settings(); });
new ResizeObserver(() => { if (active >= 0) look(active); }).observe($('figure'));

settings();
getInfo();
