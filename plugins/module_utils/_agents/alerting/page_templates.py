# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The template, the style and the script of the page of the alerting agent."""

from __future__ import annotations

STYLE = """
body { max-width: 64rem }
main { display: block }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.state { line-height: 1.2 }
.critical { --tone: #b91c1c } .warning { --tone: #a16207 } .unknown { --tone: #7e22ce }
.fine { --tone: #15803d } .pending, .quiet { --tone: #52525b }
@media (prefers-color-scheme: dark) {
  .critical { --tone: #f87171 } .warning { --tone: #facc15 } .unknown { --tone: #d8b4fe }
  .fine { --tone: #4ade80 } .pending, .quiet { --tone: #a1a1aa }
}
.state, .tone { color: var(--tone) }
.soft { opacity: .75 }
.badge { border: 1px solid var(--tone); color: var(--tone); border-radius: .3rem; padding: 0 .4rem; font-size: .85rem; white-space: nowrap }
details > summary { cursor: pointer }
.group { border-left: .3rem solid var(--tone); padding: .35rem 0 .35rem .7rem; margin: .6rem 0; background: #8881; border-radius: .2rem }
.group > summary { display: flex; flex-wrap: wrap; gap: .1rem .6rem; align-items: baseline }
.group > summary::before, .part > summary::before, .alert > summary::before { content: "\\25B8"; opacity: .6 }
.group[open] > summary::before, .part[open] > summary::before, .alert[open] > summary::before { content: "\\25BE" }
.part { margin: .3rem 0 .3rem .4rem } .part > summary { display: flex; flex-wrap: wrap; gap: 0 .6rem }
.alert { padding: .3rem .4rem .3rem 0; border-top: 1px solid #8883; margin-left: .3rem }
.alert > summary { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; gap: 0 .5rem }
.alert > summary > span, .where, dd, .text { overflow-wrap: anywhere }
.said, .whom { grid-column: 2 / -1; font-size: .92rem }
.said { font-family: ui-monospace, monospace; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden }
.age { font-variant-numeric: tabular-nums; white-space: nowrap }
dl { display: grid; grid-template-columns: 8rem minmax(0, 1fr); gap: .15rem .8rem; margin: .4rem 0 .4rem 1.2rem; font-size: .95rem }
dt { opacity: .7 } dd { margin: 0 }
code { font-family: ui-monospace, monospace; overflow-wrap: anywhere }
ul { margin: .3rem 0; padding-left: 1.2rem }
table { margin-top: .4rem } th { width: auto; opacity: .7 } thead th { font-size: .9rem; white-space: nowrap }
.silence b { white-space: nowrap } .silence { padding: .4rem 0; border-top: 1px solid #8883 }
form { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .6rem; margin-top: .6rem; max-width: 48rem }
form[hidden], button[hidden] { display: none }
label { font-size: .9rem } label > span { opacity: .75; display: block }
input, select, button { font: inherit; padding: .3rem .5rem; border: 1px solid #8888; border-radius: .3rem; background: Field;
  color: FieldText }
input, select { width: 100%; box-sizing: border-box }
button { cursor: pointer; background: ButtonFace; color: ButtonText }
.wide { grid-column: 1 / -1 } #said:not(:empty) { font-weight: 600 }
@media (max-width: 40rem) {
  body { margin: 1rem auto } .state { font-size: 1.6rem } .said { -webkit-line-clamp: 4 }
  dl { grid-template-columns: 1fr; gap: 0; margin-left: .4rem } dd { margin-bottom: .35rem }
  thead { display: none } tbody tr { display: block; border-bottom: 1px solid #8884; padding: .4rem 0 }
  tbody td { display: block; border: 0; padding: 0 } tbody td[data-name]::before { content: attr(data-name) ": "; opacity: .7 }
}
"""

SCRIPT = """
'use strict';
const form = document.getElementById('silence'), said = document.getElementById('said');
const FIELDS = ['severity', 'rule', 'datacenter', 'node', 'service', 'check'];
const token = document.getElementById('token');
token.value = sessionStorage.getItem('token') || '';
form.hidden = false;
const headers = () => token.value ? {Authorization: 'Bearer ' + token.value} : {};
function prepare() {
  for (const button of document.querySelectorAll('#live button')) button.hidden = false;
}
async function refresh() {
  const answer = await fetch('./', {headers: headers()});
  if (!answer.ok) throw new Error('the agent answered ' + answer.status);
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const isOpen = new Map();
  for (const one of document.querySelectorAll('#live details')) isOpen.set(one.dataset.key, one.open);
  for (const one of page.querySelectorAll('#live details'))
    if (isOpen.has(one.dataset.key)) one.open = isOpen.get(one.dataset.key);
  const active = document.activeElement, focused = active && active.dataset ? active.dataset.focus : '';
  document.getElementById('live').replaceWith(document.adoptNode(page.getElementById('live')));
  document.querySelector('footer').replaceWith(document.adoptNode(page.querySelector('footer')));
  document.title = page.title;
  prepare();
  if (focused) for (const one of document.querySelectorAll('[data-focus]')) if (one.dataset.focus === focused) one.focus();
}
async function change(method, path, body, done) {
  sessionStorage.setItem('token', token.value);
  said.textContent = '\\u2026';
  try {
    const more = body ? {'Content-Type': 'application/json'} : {};
    const answer = await fetch(path, {method, headers: {...headers(), ...more}, body: body && JSON.stringify(body)});
    said.textContent = answer.ok ? done : (await answer.text()).trim();
    if (answer.ok) await refresh();
  } catch (error) { said.textContent = 'The agent does not answer: ' + error.message; }
  said.scrollIntoView({block: 'nearest'});
}
form.addEventListener('submit', event => {
  event.preventDefault();
  const match = {}, values = new FormData(form);
  for (const name of FIELDS)
    if (values.get(name)) match[name] = values.get(name);
  const body = {match, author: values.get('author'), reason: values.get('reason')};
  body[values.get('until') ? 'end' : 'duration'] = values.get('until') || values.get('duration');
  change('POST', 'silences', body, 'The silence is in force.');
});
document.addEventListener('click', event => {
  const button = event.target.closest('button[data-end], button[data-match]');
  if (!button) return;
  if (button.dataset.end) {
    change('DELETE', 'silences/' + encodeURIComponent(button.dataset.end), null, 'The silence has ended.');
    return;
  }
  const match = JSON.parse(button.dataset.match);
  for (const name of FIELDS) form.elements[name].value = match[name] || '';
  form.scrollIntoView();
  form.elements.reason.focus();
});
prepare();
setInterval(() => document.hidden || refresh().catch(() => { document.getElementById('old').hidden = false; }), 10000);
"""

TEMPLATES = {
    "alerting_waits": """{% extends "frame" %}{% block content %}
<p class="state bad">starting</p>
<p>{{ sentence }}</p>
{% endblock %}
""",
    "alerting": """{% extends "frame" %}
{% block refresh %}<noscript><meta http-equiv=refresh content=30></noscript>{% endblock %}
{% block title %}{{ headline.text }} ({{ status.name }} on {{ status.node }}){% endblock %}
{% block style %}{{ own_style | safe }}{% endblock %}
{% block content %}
<main id=live>
<p class="state {{ headline.kind }}">{{ headline.text }}</p>
<p id=old class="tone unknown" hidden>This page is old: the agent does not answer any more.</p>
<p>{% if counts.silenced %}{{ counts.silenced }} of them silenced. {% endif %}
{% if counts.inhibited %}{{ counts.inhibited }} of them explained by others. {% endif %}
{% if counts.pending %}{{ counts.pending }} pending. {% endif %}
<span class=soft>{{ standing }}{% if status.problem %}</span> <b class="tone unknown">{{ status.problem }}</b><span>{% endif %}</span></p>
{% if unknown %}<details class="group unknown" data-key="unknown"{% if unknown | length <= 4 %} open{% endif %}>
<summary><span class=badge>unknown</span> <b>Not everything is known</b> <span class=soft>{{ unknown | length }}</span></summary>
<ul class=text>{% for text in unknown %}<li>{{ text }}{% endfor %}</ul></details>{% endif %}

<h2>Alerts</h2>
{% for group in groups %}
<details class="group {{ group.tone }}" data-key="{{ group.key }}"
{% if is_open or group.alerts | length <= 3 %}open{% endif %}>
<summary><span class=badge>{{ group.badge }}</span> <b class=where>{{ group.rule }}</b>
<span class=where>{{ group.datacenter }}</span>
<span class=soft>{{ group.alerts | length | count_of("alert") }}, since {{ group.since | ago(now) }}</span></summary>
{% if group.parts %}{% for part in group.parts %}
<details class=part data-key="{{ part.key }}"><summary><span class=where>{{ part.name }}</span>
<span class=soft>{{ part.alerts | length }}</span></summary>
{% for alert in part.alerts %}{{ show(alert) }}{% endfor %}
</details>
{% endfor %}{% else %}{% for alert in group.alerts %}{{ show(alert) }}{% endfor %}{% endif %}
</details>
{% else %}<p class=soft>{% if unknown %}None that is known of.{% else %}None.{% endif %}</p>
{% endfor %}
{% if not_shown %}<p>{{ not_shown | count_of("more alert") }}: <a href=alerts>all as JSON</a>,
<code>consulops alert list</code></p>{% endif %}

<h2>Silences</h2>
{% for one in silences if one.state != "expired" %}{{ silence_line(one) }}{% else %}<p class=soft>None is in force.</p>{% endfor %}
{% if silences | selectattr("state", "equalto", "expired") | list %}
<details data-key="expired"><summary class=soft>Over</summary>
{% for one in silences if one.state == "expired" %}{{ silence_line(one) }}{% endfor %}</details>{% endif %}

<h2>Receivers</h2>
<table><thead><tr><th scope=col>Receiver<th scope=col>State<th scope=col>Waiting<th scope=col>Last success
<th scope=col>Delivered<th scope=col>Given up</thead><tbody>
{% for one in receivers %}<tr class="{{ {"working": "fine", "failing": "critical"}.get(one.state, "quiet") }}">
<td><b class=where>{{ one.name }}</b> <span class=soft>{{ one.type }}</span>
<td><span class=badge>{{ one.state }}</span>{% if one.problem %} <span class=text>{{ one.problem }}</span>{% endif %}
<td data-name="waiting">{{ one.waiting }}{% if one.oldest %}, the oldest for {{ one.oldest | ago(now) }}{% endif %}
<td data-name="last success">{% if one.last_success %}{{ one.last_success | ago(now) }} ago{% else %}none since the start{% endif %}
<td data-name="delivered">{{ one.delivered }}<td data-name="given up">{{ one.given_up }}
{% endfor %}</tbody></table>

<h2>Datacenters</h2>
<table><thead><tr><th scope=col>Datacenter<th scope=col>Verdict<th scope=col>Findings<th scope=col>Last
full reading<th scope=col>In maintenance</thead><tbody>
{% for one in datacenters %}<tr class="{{ {"ok": "fine"}.get(one.verdict, one.verdict) }}">
<td><b class=where>{{ one.datacenter }}</b><td><span class=badge>{{ one.verdict }}</span>
<td data-name="findings">{% for name, count in one.findings.items() %}{{ count }} {{ name }}{{ "" if loop.last else ", " }}
{% else %}unknown{% endfor %}
<td data-name="last full reading">{% if one.read_at %}{{ one.read_at | ago(now) }} ago, took {{ one.took_s }} s{% else %}never{% endif %}
<td data-name="in maintenance">{% if one.maintenance %}<details data-key="maintenance {{ one.watched_as }}">
<summary>{{ one.maintenance | length }}</summary><ul>{% for text in one.maintenance %}
<li class=text>{{ text }}{% endfor %}</ul></details>{% else %}{{ "nothing" if one.read_at else "unknown" }}{% endif %}
{% endfor %}</tbody></table>
</main>

<h2>Add a silence</h2>
<noscript><p>Without JavaScript, silences are added and ended with the command:<br>
<code>consulops alert silence service=web severity=warning --for 2h --author NAME --reason TEXT</code><br>
<code>consulops alert unsilence ID</code></p></noscript>
<form id=silence hidden>
<label><span>Severity</span><select name=severity><option value="">any<option>warning<option>critical</select></label>
{% for name in ("rule", "datacenter", "node", "service", "check") %}<label><span>{{ name | capitalize }}</span>
<input name={{ name }} autocomplete=off placeholder=any maxlength=500></label>
{% endfor %}<label><span>For</span><select name=duration>
<option>30m<option selected>2h<option>8h<option>1d<option>3d<option>1w<option>4w</select></label>
<label><span>or until</span><input name=until autocomplete=off placeholder="2026-12-24T18:00:00Z"></label>
<label><span>Author</span><input name=author required maxlength=1000 autocomplete=username></label>
<label class=wide><span>Reason</span><input name=reason required maxlength=1000 autocomplete=off></label>
<label class=wide><span>Token (of endpoint.token_file; kept until this tab is closed)</span>
<input id=token type=password autocomplete=off></label>
<p class="wide soft">A field takes a name, or a pattern: web-* or re:^web[0-9]+$. An empty field takes everything.</p>
<p class=wide><button>Silence</button> <span id=said role=status></span></p>
</form>
<script>{{ script | safe }}</script>
{% endblock %}

{% macro show(alert) %}
<details class=alert data-key="{{ alert.key }}"><summary>
<span class=where>{{ alert.title }}{% if alert.flapping %}
<span class=badge>flapping</span>{% endif %}{% if alert.state == "recovering" %}
<span class=badge>recovering</span>{% endif %}{% if alert.silenced_by %}
<span class="badge quiet">silenced</span>{% endif %}{% if alert.inhibited_by %} <span class="badge quiet">explained
by another</span>{% endif %}</span>
<span class=age>{{ alert.since | ago(now) }}</span>
{% if alert.output or alert.detail %}<span class="said soft">{{ alert.output or alert.detail }}</span>{% endif %}
<span class="whom soft">{{ alert.whom }}</span></summary>
<dl><dt>What<dd>{{ alert.summary }}
<dt>Since<dd>{{ alert.since }}{% if alert.firing_since %}, firing since {{ alert.firing_since }}{% endif %}
{% if alert.unknown_since %}<dt>Unknown since<dd>{{ alert.unknown_since }}: Consul does not tell. It counts neither as over nor as
going on.{% endif %}
{% if alert.detail %}<dt>The check said<dd><code>{{ alert.detail }}</code>{% elif alert.output %}<dt>The
check said<dd><code>{{ alert.output }}</code>{% endif %}
{% if alert.advice %}<dt>Advice<dd>{{ alert.advice }}{% endif %}
{% for one in alert.silenced_by %}
<dt>Silenced<dd>until {{ one.until }} by {{ one.author }}: {{ one.reason }} (<code>{{ one.id }}</code>){% endfor %}
{% for text in alert.inhibited_by %}<dt>Explained by<dd>{{ text }}{% endfor %}
{% for one in alert.told %}
<dt>{{ one.receiver }}<dd>told of {{ one.status }} {{ one.at | ago(now) }} ago,
{{ one.messages | count_of("message") }}, the last one {{ one.delivery }}{% endfor %}
{% for one in alert.routes if one.muted %}<dt>{{ one.receiver }}<dd>is not told at this time (mute times of {{ one.path }}){% endfor %}
{% if alert.tags %}<dt>Tags<dd>{{ alert.tags | join(", ") }}{% endif %}
<dt>Look<dd><code>consulops alert explain {{ alert | explain }}</code></dl>
<button hidden data-focus="silence {{ alert.key }}" data-match="{{ alert.match | tojson | forceescape }}">Silence this</button>
</details>
{% endmacro %}

{% macro silence_line(one) %}
<div class="silence {{ "fine" if one.state == "active" else "quiet" }}"><span class=badge>{{ one.state }}</span>
<code>{{ one.match_text }}</code>
{% if one.state == "active" %}<b>until {{ one.end or "for ever" }}</b> <span class=soft>(another {{ one.end | until(now) }})</span>
{% elif one.state == "future" %}from {{ one.start }} until {{ one.end }}{% else %}until {{ one.end }}{% endif %}
<div class=text>{{ one.author }}: {{ one.reason }}</div>
{% if one.state != "expired" %}<div class=soft>covers {{ one.firing | count_of("firing alert") }};
{% if one.configured %}change it in the configuration{% else %}<code>consulops alert unsilence {{ one.id }}</code>
<button hidden data-focus="end {{ one.id }}" data-end="{{ one.id }}">End</button>{% endif %}</div>{% endif %}</div>
{% endmacro %}
""",
}
