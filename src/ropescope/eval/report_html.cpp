#include <fmt/format.h>

#include "ropescope/eval/report.h"

namespace ropescope::eval {

namespace {

constexpr const char* kHead = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Paper and measurement</title>
<style>
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em;color:#1b1f24;background:#fff}
table{border-collapse:collapse;margin:1em 0;width:100%}
th,td{border-bottom:1px solid #d5d9de;padding:.3em .6em;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
pre{white-space:pre-wrap;margin:0;font:13px/1.4 ui-monospace,monospace}
.right{background:#e6f4e8}.wrong{background:#fbeaea}
label{margin-right:1.2em}input,select{font:inherit}
</style></head><body>
)html";

// Everything that comes from data goes in as text nodes, never as markup.
constexpr const char* kScript = R"html(<script>
const report=JSON.parse(document.getElementById("report").textContent);
const add=(parent,name,text,style)=>{const e=document.createElement(name);if(text!==undefined&&text!==null)e.textContent=text;
  if(style)e.className=style;parent.appendChild(e);return e};
const fixed=(x,sign)=>x===null?"–":(sign&&x>0?"+":"")+x.toFixed(2);
const range=i=>i?fixed(i[0])+" – "+fixed(i[1]):"–";
function table(parent,heads,rows){const t=add(parent,"table"),h=add(add(t,"thead"),"tr");heads.forEach(x=>add(h,"th",x));
  const b=add(t,"tbody");rows.forEach(r=>{const tr=add(b,"tr");r.forEach(c=>add(tr,"td",c.text??c,c.style))});return t}
const n=text=>({text:String(text),style:"n"});
const main=document.getElementById("main");
add(main,"h1","Paper and measurement");
add(main,"h2","Runs");
table(main,["run","benchmark","model","scheme","profile","policy","items","failed","percent","95 % interval"],
  report.runs.map(r=>[r.name,r.benchmark,r.model,r.scheme,r.profile,r.policy,n(r.items),n(r.failed),n(fixed(r.percent)),range(r.interval)]));
for(const name of [...new Set(report.rows.map(r=>r.table))]){
  add(main,"h2","Paper "+name.split(":")[0]+", table "+name.split(":")[1]);
  table(main,["model","method","column","paper","measured","difference","95 % interval","n","why"],
    report.rows.filter(r=>r.table===name).map(r=>[r.model,r.method,r.column,n(fixed(r.paper)),n(fixed(r.measured)),
      n(r.paper===null||r.measured===null?"–":fixed(r.measured-r.paper,true)),range(r.interval),n(r.n??"–"),r.why]))}
if(report.comparisons.length){add(main,"h2","Runs on the same questions");
  table(main,["benchmark","a","b","b − a, points","95 % interval (paired bootstrap)","n","only a right","only b right","McNemar p"],
    report.comparisons.map(c=>[c.benchmark,c.a,c.b,n(fixed(c.difference,true)),range(c.interval),n(c.n),n(c.only_a??"–"),n(c.only_b??"–"),
      n(c.p===null?"–":c.p.toFixed(4))]))}
if(report.notes.length){add(main,"h2","Notes");const ul=add(main,"ul");report.notes.forEach(x=>add(ul,"li",x))}
add(main,"h2","Items");
const bar=add(main,"p"),pick=(text,values)=>{const l=add(bar,"label",text+" "),s=add(l,"select");values.forEach((v,i)=>{add(s,"option",v).value=i});
  s.addEventListener("change",show);return s};
const names=report.runs.map(r=>r.name);
const first=pick("run",names),second=pick("beside",["–",...names]);
const kind=pick("show",["all","right","wrong","only the first right","only the second right","failed"]);
const word=add(add(bar,"label","containing "),"input");word.addEventListener("input",show);
const count=add(main,"p"),place=add(main,"div");
function show(){place.replaceChildren();const a=report.runs[first.value],b=second.value>0?report.runs[second.value-1]:null;
  const other=new Map((b?b.samples:[]).map(s=>[s.record,s]));const text=word.value.toLowerCase();
  const found=a.samples.filter(s=>{const o=other.get(s.record),k=+kind.value,ok=s.score>=0.5,ook=o&&o.score>=0.5;
    if(b&&!o)return false;
    if(k===1&&!ok||k===2&&ok||k===3&&!(ok&&b&&!ook)||k===4&&!(!ok&&b&&ook)||k===5&&!s.error)return false;
    return !text||(s.prompt+" "+s.output).toLowerCase().includes(text)});
  count.textContent=found.length+" of "+a.samples.length+" items"+(a.samples.length<a.items?" (of "+a.items+" in the run)":"")+
    (found.length>200?"; the first 200 are shown":"");
  const t=add(place,"table"),h=add(add(t,"thead"),"tr");["record","question","gold",a.name,...(b?[b.name]:[])].forEach(x=>add(h,"th",x));
  const body=add(t,"tbody");found.slice(0,200).forEach(s=>{const tr=add(body,"tr");add(tr,"td",s.record,"n");add(add(tr,"td"),"pre",s.prompt);
    add(add(tr,"td"),"pre",s.gold);for(const x of b?[s,other.get(s.record)]:[s]){const td=add(tr,"td",undefined,x.score>=0.5?"right":"wrong");
      add(td,"pre",x.error?"failed: "+x.error:x.output);add(td,"small","score "+x.score.toFixed(2)+(x.extracted===null?"":", read as "+x.extracted))}})}
show();
</script></body></html>
)html";

Json interval_json(const std::optional<Interval>& interval) {
  return interval ? Json{interval->low, interval->high} : Json(nullptr);
}

template <typename T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string gold_text(const Json& doc) {
  for (const char* column : {"answer", "answers", "bbox"}) {
    if (doc.contains(column)) {
      return doc[column].is_string() ? doc[column].get<std::string>() : doc[column].dump(-1, ' ', true);
    }
  }
  return "";
}

Json run_json(const ResultRun& run) {
  Json samples = Json::array();
  for (const Json& sample : run.samples) {
    const Json extracted = sample.value("extracted", Json());
    samples.push_back(
        {{"record", sample.at("record")},
         {"prompt", sample.value("prompt", "")},
         {"output", sample.value("output", "")},
         {"score", sample.at("score")},
         {"extracted", extracted.is_null() || extracted.is_string() ? extracted : Json(extracted.dump())},
         {"gold", gold_text(sample.at("doc"))},
         {"error", sample.value("error", Json())}});
  }
  const auto figure = figure_of(run, 0);
  return {{"name", run.name},
          {"benchmark", run.benchmark->name},
          {"model", run.summary.value("model", "")},
          {"scheme", run.scheme},
          {"profile", run.summary.value("profile", "")},
          {"policy", run.summary.value("policy", "")},
          {"items", run.summary.value("items", 0)},
          {"failed", run.summary.value("failed", 0)},
          {"percent", figure ? Json(figure->percent) : Json(nullptr)},
          {"interval", figure ? interval_json(figure->interval) : Json(nullptr)},
          {"samples", samples}};
}

/// JSON that may stand inside a <script> element.
std::string script_json(const Json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string report_html(const Report& report) {
  Json runs = Json::array(), rows = Json::array(), comparisons = Json::array();
  for (const ResultRun& run : report.runs) runs.push_back(run_json(run));
  for (const ReportRow& row : report.rows) {
    rows.push_back({{"table", row.table},
                    {"model", row.model},
                    {"method", row.method},
                    {"column", row.column},
                    {"paper", optional_json(row.paper)},
                    {"measured", optional_json(row.measured)},
                    {"interval", interval_json(row.interval)},
                    {"n", row.measured ? Json(row.units) : Json(nullptr)},
                    {"why", row.why}});
  }
  for (const Comparison& pair : report.comparisons) {
    comparisons.push_back({{"benchmark", pair.benchmark},
                           {"a", pair.a},
                           {"b", pair.b},
                           {"difference", pair.difference},
                           {"interval", interval_json(pair.interval)},
                           {"n", pair.units},
                           {"only_a", optional_json(pair.only_a)},
                           {"only_b", optional_json(pair.only_b)},
                           {"p", optional_json(pair.p)}});
  }
  const Json all = {{"runs", runs}, {"rows", rows}, {"comparisons", comparisons}, {"notes", report.notes}};
  return std::string(kHead) + "<div id=\"main\"></div>\n<script type=\"application/json\" id=\"report\">" +
         script_json(all) + "</script>\n" + kScript;
}

}  // namespace ropescope::eval
