// For one scheme and one layout
//   /positions/{coordinates [axes,tokens], rows (their names), modality, raster [tokens], anchors?, segments}
//   /rotary/{cos,sin [kv heads or 1, tokens, rotary dimension/2], inv_freq, axis?, weights [.., .., axes]}
//   /bias [heads,tokens,tokens]
// else with the layout's and the scheme's text below /positions, /rotary and /bias; measurements of all runs
// as columns in /criteria and /misalignment.
#include "positions/position_output.h"

#include <algorithm>
#include <limits>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/rope/rotation.h"

namespace ropescope::app::positions {

namespace {

constexpr int64_t kMostBiasValues = int64_t{1} << 30;  // 4 GiB

std::string path_part(std::string text) {
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

/// "" for the only run, else "/layout/scheme" or what of it distinguishes.
std::string path_of(const PositionRun& run, const PositionRequest& request) {
  std::string path;
  if (request.layouts.size() > 1) path += "/" + path_part(run.layout->name);
  if (request.schemes.size() > 1) path += "/" + path_part(run.scheme->text());
  return path;
}

void write_coordinates(ResultWriter& writer, const std::string& group, const PositionRun& run,
                       const std::string& title, int64_t order) {
  writer.write(group + "/coordinates", run.positions.coordinates);
  writer.write(group + "/rows", run.scheme->row_names());
  writer.write(group + "/modality", run.positions.modality);
  writer.write(group + "/raster", run.positions.raster);
  if (run.scheme->anchored()) {
    writer.write(group + "/anchors", run.positions.anchors);
    writer.attribute(group, "next_anchor", run.positions.next_anchor);
  }
  std::vector<std::string> segments;
  for (const Segment& segment : run.layout->segments) {
    Layout alone;
    alone.segments = {segment};
    segments.push_back(layout_text(alone));
  }
  writer.write(group + "/segments", segments);
  writer.attribute(group, "scheme", run.scheme->text());
  writer.attribute(group, "layout", run.layout->name.substr(0, 1000));
  writer.attribute(group, "title", title);
  writer.attribute(group, "order", order);
  writer.attribute(group, "next", run.positions.next);
}

void write_rotary(ResultWriter& writer, const std::string& group, const PositionRun& run,
                  const PositionRequest& request) {
  const Frequencies frequencies = run.scheme->frequencies(
      request.rope, head_dim_of(*run.scheme, request.head_dim), kv_heads_of(*run.scheme, request.kv_heads),
      request.context, run.positions.largest() + 1);
  const at::Tensor& ids = run.positions.coordinates;
  const RotaryTable table = request.fope ? make_rotary_table(ids[0], frequencies, *request.fope)
                                         : make_rotary_table(ids.unsqueeze(1), frequencies);
  writer.write(group + "/cos", table.cos[0]);
  writer.write(group + "/sin", table.sin[0]);
  writer.write(group + "/inv_freq", frequencies.inv_freq);
  writer.write(group + "/weights", frequencies.row_weights(run.scheme->axes()));
  // With several rows a channel no one axis tells what turns it.
  if (!frequencies.weights.defined()) writer.write(group + "/axis", frequencies.axis);
  writer.attribute(group, "attention_scale", frequencies.attention_scale);
  writer.attribute(group, "head_dim", frequencies.head_dim);
}

void write_bias(ResultWriter& writer, const std::string& name, const PositionRun& run,
                const PositionRequest& request) {
  const std::vector<double> slopes = run.scheme->bias_slopes(request.bias_heads_of(*run.scheme));
  if (slopes.empty()) return;
  const int64_t tokens = run.positions.tokens(), heads = static_cast<int64_t>(slopes.size());
  if (tokens > kMostBiasValues / std::max<int64_t>(tokens, 1) / heads) {
    throw UsageError("scheme {}: expected a bias of at most {} values, found {} heads of {} x {} tokens",
                     run.scheme->text(), kMostBiasValues, heads, tokens, tokens);
  }
  writer.write(name, bias_of_pairs(*run.scheme, run.positions, heads));
}

/// One dataset a field, one value a run; null, and what a run does not have, becomes NaN.
void write_columns(ResultWriter& writer, const std::string& group, const std::vector<Json>& rows) {
  Json fields = Json::object();
  for (const Json& row : rows) fields.update(row);
  for (const auto& [field, example] : fields.items()) {
    if (example.is_object()) {
      std::vector<Json> nested;
      for (const Json& row : rows) nested.push_back(row.value(field, Json::object()));
      write_columns(writer, group + "/" + field, nested);
      continue;
    }
    std::vector<double> values;
    bool integers = true;
    for (const Json& row : rows) {
      const Json value = row.value(field, Json(nullptr));
      integers = integers && (value.is_boolean() || value.is_number_integer());
      values.push_back(value.is_null()      ? std::numeric_limits<double>::quiet_NaN()
                       : value.is_boolean() ? static_cast<double>(value.get<bool>())
                                            : value.get<double>());
    }
    const at::Tensor column = at::tensor(values, at::kDouble);
    writer.write(group + "/" + field, integers ? column.to(at::kLong) : column);
  }
}

void write_measurements(ResultWriter& writer, const std::string& group, const std::vector<PositionRun>& runs,
                        const std::vector<Json>& rows) {
  std::vector<std::string> schemes, layouts;
  for (const PositionRun& run : runs) {
    schemes.push_back(run.scheme->text());
    layouts.push_back(run.layout->name);
  }
  writer.write(group + "/scheme", schemes);
  writer.write(group + "/layout", layouts);
  write_columns(writer, group, rows);
}

}  // namespace

std::string run_title(const PositionRun& run, const PositionRequest& request) {
  return request.layouts.size() > 1 ? run.scheme->text() + " on " + run.layout->name : run.scheme->text();
}

void write_positions(ResultWriter& writer, const std::vector<PositionRun>& runs,
                     const PositionRequest& request) {
  std::vector<Json> criteria, misalignment;
  for (size_t i = 0; i < runs.size(); ++i) {
    const PositionRun& run = runs[i];
    const std::string path = path_of(run, request);
    write_coordinates(writer, "/positions" + path, run, run_title(run, request), static_cast<int64_t>(i));
    write_rotary(writer, "/rotary" + path, run, request);
    write_bias(writer, "/bias" + path, run, request);
    if (run.criteria) criteria.push_back(to_json(*run.criteria));
    if (run.misalignment) misalignment.push_back(to_json(run.misalignment->resize, *run.layout));
  }
  if (!criteria.empty()) write_measurements(writer, "/criteria", runs, criteria);
  if (!misalignment.empty()) write_measurements(writer, "/misalignment", runs, misalignment);
}

}  // namespace ropescope::app::positions
