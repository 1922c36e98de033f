#include "ropescope/analysis/figures_attention.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/attention_file.h"
#include "ropescope/analysis/attention_grids.h"
#include "ropescope/analysis/figure_data.h"
#include "ropescope/analysis/figures_prior.h"
#include "ropescope/core/errors.h"
#include "ropescope/rope/layout.h"

namespace ropescope {

namespace {

constexpr char kRoot[] = "/attention", kInput[] = "/attention/inputs/0";
/// Maps of one scheme that are legible on a page.
constexpr size_t kMostMaps = 12;
/// A few tokens that take most of the attention would leave all others dark: the colour bar ends here.
constexpr double kTopShare = 0.995;

std::vector<int64_t> integers(const ResultReader& result, const std::string& dataset) {
  const at::Tensor values = read_axes(result, dataset, 1).to(at::kLong);
  const auto* data = values.const_data_ptr<int64_t>();
  return {data, data + values.numel()};
}

double number_attribute(const ResultReader& result, const std::string& object, const char* name) {
  if (!result.has_attribute(object, name)) return NAN;
  const Attribute value = result.attribute(object, name);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  return NAN;
}

/// The picture under the maps, and the region marked on it.
struct Backdrop {
  std::optional<Photograph> photograph;
  std::vector<std::array<double, 4>> boxes;
};

Backdrop read_backdrop(const ResultReader& result, int64_t picture, bool marked) {
  const std::string name = fmt::format("{}/picture-{}", kInput, picture);
  Backdrop backdrop;
  if (!result.has(name)) return backdrop;
  const at::Tensor pixels = result.read(name);
  if (pixels.dim() != 3 || pixels.size(2) != 3 || pixels.numel() == 0 || pixels.scalar_type() != at::kByte) {
    throw InputError("{}: {}: expected [height, width, 3] of uint8", result.path().string(), name);
  }
  const at::Tensor rgb = pixels.contiguous();
  Photograph photograph;
  photograph.rows = rgb.size(0);
  photograph.columns = rgb.size(1);
  photograph.rgb.assign(rgb.const_data_ptr<uint8_t>(), rgb.const_data_ptr<uint8_t>() + rgb.numel());
  backdrop.photograph = std::move(photograph);
  const double width = number_attribute(result, name, "width"),
               height = number_attribute(result, name, "height");
  const double x = number_attribute(result, name, "region_x"), y = number_attribute(result, name, "region_y");
  const double w = number_attribute(result, name, "region_width"),
               h = number_attribute(result, name, "region_height");
  if (marked && std::isfinite(x + y + w + h) && width > 0 && height > 0) {
    backdrop.boxes.push_back(
        {x / width, y / height, std::min((x + w) / width, 1.0), std::min((y + h) / height, 1.0)});
  }
  return backdrop;
}

/// Places in `available` of the wanted values; all where nothing is wanted.
std::vector<int64_t> places_of(const std::vector<int64_t>& wanted, const std::vector<int64_t>& available,
                               const char* flag) {
  std::vector<int64_t> places;
  for (size_t i = 0; i < available.size(); ++i) {
    if (wanted.empty()) places.push_back(static_cast<int64_t>(i));
  }
  for (const int64_t value : wanted) {
    const auto at = std::find(available.begin(), available.end(), value);
    if (at == available.end()) throw UsageError("--{}: the file holds no {} {}", flag, flag, value);
    places.push_back(at - available.begin());
  }
  return places;
}

/// The mean row of a set's queries, [layers, heads, keys] float64.
at::Tensor mean_rows(const ResultReader& result, const std::string& group, const std::string& set,
                     int64_t layers, int64_t heads) {
  const std::string means = group + "/means/" + set, all = group + "/rows";
  const bool averaged = result.has(means);
  const at::Tensor rows = result.read(averaged ? means : all);
  const bool begins = rows.dim() == (averaged ? 3 : 4) && rows.size(0) == layers && rows.size(1) == heads;
  if (begins && averaged) return rows.to(at::kDouble);
  const std::vector<int64_t> queries = integers(result, group + "/query_index");
  if (!begins || rows.size(2) != static_cast<int64_t>(queries.size())) {
    throw InputError("{}: {}: expected [layers, heads, queries, keys] of its indices", result.path().string(),
                     averaged ? means : all);
  }
  const std::vector<int64_t> places = places_of(integers(result, group + "/sets/" + set), queries, "queries");
  at::Tensor sum;
  for (const int64_t place : places) {  // one by one: float64 of all would take twice the file's size
    const at::Tensor row = rows.select(2, place).to(at::kDouble);
    sum = sum.defined() ? sum.add(row) : row;
  }
  if (!sum.defined())
    throw InputError("{}: {}/sets/{}: expected queries, found none", result.path().string(), group, set);
  return sum.div(static_cast<double>(places.size()));
}

/// Mean attention of the set on every key, one row a map: [maps, keys] float64, and what each map is.
struct Maps {
  at::Tensor values;
  std::vector<std::string> names;
  int64_t all = 0;  ///< before some were left out
};

Maps read_maps(const ResultReader& result, const std::string& scheme, const std::string& set,
               const FigureSelection& selection) {
  const std::string group = scheme_group(kRoot, scheme);
  const std::vector<int64_t> layers = integers(result, group + "/layer_index"),
                             heads = integers(result, group + "/head_index");
  const std::vector<int64_t> l = places_of(selection.layers, layers, "layers"),
                             h = places_of(selection.heads, heads, "heads");
  const auto pick = [](const at::Tensor& from, int64_t axis, const std::vector<int64_t>& places) {
    return from.index_select(axis, at::tensor(places, at::kLong));
  };
  at::Tensor rows =
      mean_rows(result, group, set, static_cast<int64_t>(layers.size()), static_cast<int64_t>(heads.size()));
  rows = pick(pick(rows, 0, l), 1, h);
  Maps maps;
  const auto layer = [&](size_t i) { return fmt::format("layer {}", layers[static_cast<size_t>(l[i])]); };
  const auto head = [&](size_t i) { return fmt::format("head {}", heads[static_cast<size_t>(h[i])]); };
  if (selection.average == "all") {
    maps.values = rows.mean(at::IntArrayRef({0, 1})).unsqueeze(0);
    maps.names = {""};
  } else if (selection.average == "heads") {
    maps.values = rows.mean(1);
    for (size_t i = 0; i < l.size(); ++i) maps.names.push_back(layer(i));
  } else if (selection.average == "layers") {
    maps.values = rows.mean(0);
    for (size_t i = 0; i < h.size(); ++i) maps.names.push_back(head(i));
  } else if (selection.average == "none") {
    maps.values = rows.flatten(0, 1);
    for (size_t i = 0; i < l.size(); ++i) {
      for (size_t j = 0; j < h.size(); ++j) maps.names.push_back(layer(i) + ", " + head(j));
    }
  } else {
    throw UsageError("--average: expected all, heads, layers or none, found \"{}\"", selection.average);
  }
  maps.all = maps.values.size(0);
  const std::vector<int64_t> shown = spread_indices(maps.all, kMostMaps);
  std::vector<std::string> names;
  for (const int64_t i : shown) names.push_back(maps.names[static_cast<size_t>(i)]);
  maps.values = pick(maps.values, 0, shown).contiguous();
  maps.names = std::move(names);
  return maps;
}

std::vector<double> cell_values(const AttentionGrid& cells, const at::Tensor& keys) {
  std::vector<double> values;
  const auto* of_key = keys.const_data_ptr<double>();
  for (const int64_t token : cells.token) {
    values.push_back(token >= 0 && token < keys.numel() ? 100 * of_key[token] : NAN);
  }
  return values;
}

/// Model and inputs, and what nobody may forget who sees the picture alone.
std::string caption(const ResultReader& result, const std::string& left_out = "") {
  std::string features;
  if (result.has_attribute(kRoot, "features")) {
    const Attribute value = result.attribute(kRoot, "features");
    const auto* text = std::get_if<std::string>(&value);
    if (text != nullptr && *text == kUntrainedFeatures) features = "visual features are untrained";
  }
  return joined_notes({sources_of(result, kRoot), features, left_out});
}

double largest_of(const std::vector<std::vector<double>>& maps) {
  double largest = 0;
  for (const auto& map : maps) {
    for (const double value : map) {
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
  }
  return largest;
}

/// The end of the colour bar that the panels of a row share.
double top_of(const std::vector<std::vector<double>>& maps) {
  std::vector<double> all;
  for (const auto& map : maps) {
    for (const double value : map) {
      if (std::isfinite(value)) all.push_back(value);
    }
  }
  if (all.empty()) return 0;
  const auto place =
      all.begin() + static_cast<std::ptrdiff_t>(kTopShare * static_cast<double>(all.size() - 1));
  std::nth_element(all.begin(), place, all.end());
  return *place;
}

std::string first_set(const ResultReader& result, const std::string& scheme) {
  const std::string group = scheme_group(kRoot, scheme) + "/sets/";
  for (const std::string& name : result.datasets()) {
    if (name.rfind(group, 0) == 0) return name.substr(group.size());
  }
  throw InputError("{}: {}: expected a set of queries, found none", result.path().string(), group);
}

std::string set_title(const ResultReader& result, const std::string& set) {
  if (set == "region") return "the marked region";
  if (set == "word" && result.has_attribute(kInput, "word")) {
    const Attribute word = result.attribute(kInput, "word");
    if (const auto* text = std::get_if<std::string>(&word)) return fmt::format("the word “{}”", *text);
  }
  if (set == "last") return "the last token of the prompt";
  if (set == "text") return "the question";
  if (set == "generated") return "the generated tokens";
  if (set == "high") return "all high-resolution tokens";
  return "the chosen tokens";
}

/// Few layers are named one by one: there is nothing between them. Many: gnuplot's choice.
std::vector<std::pair<double, std::string>> layer_ticks(const at::Tensor& layers) {
  constexpr int64_t kMost = 12;
  std::vector<std::pair<double, std::string>> ticks;
  if (layers.numel() > kMost) return ticks;
  for (const double layer : to_vector(layers)) ticks.emplace_back(layer, fmt::format("{:.0f}", layer));
  return ticks;
}

/// Mean over heads, queries and inputs of a measure, one value a layer.
std::vector<double> by_layer(const ResultReader& result, const std::string& scheme,
                             const std::string& measure, int64_t inputs) {
  at::Tensor sum;
  for (int64_t i = 0; i < inputs; ++i) {
    const std::string group = scheme_group(kRoot, scheme) + (i == 0 ? "" : fmt::format("/input-{}", i));
    const std::string probed = group + "/alignment/" + measure;
    const at::Tensor values =
        read_axes(result, result.has(probed) ? probed : group + "/measures/" + measure, 3);
    const at::Tensor layers = values.nanmean(at::IntArrayRef({1, 2}));
    sum = sum.defined() ? sum.add(layers) : layers;
  }
  return to_vector(sum.div(static_cast<double>(inputs)));
}

}  // namespace

bool attention_maps_apply(const ResultReader& result) {
  if (!result.has("/attention/table/scheme") || !result.has(std::string(kInput) + "/modality")) return false;
  const std::vector<std::string> schemes = result.read_strings("/attention/table/scheme");
  if (schemes.empty()) return false;
  const std::string group = scheme_group(kRoot, schemes.front());
  return (result.has(group + "/rows") || result.has(group + "/means")) && !attention_grids(result).empty();
}

Figure attention_maps(const ResultReader& result, const FigureSelection& selection) {
  const std::vector<std::string> schemes = read_schemes(result, "/attention/table/scheme");
  const std::string set = selection.queries.empty() ? first_set(result, schemes.front()) : selection.queries;
  for (const std::string& scheme : schemes) {
    if (!result.has(scheme_group(kRoot, scheme) + "/sets/" + set)) {
      throw UsageError("--queries: {} holds no queries \"{}\"; it holds \"{}\"", result.path().string(), set,
                       first_set(result, scheme));
    }
  }
  std::vector<Maps> maps;
  for (const std::string& scheme : schemes) maps.push_back(read_maps(result, scheme, set, selection));
  const std::vector<AttentionGrid> grids = attention_grids(result);
  const bool pictured = std::any_of(grids.begin(), grids.end(), [&](const AttentionGrid& grid) {
    return read_backdrop(result, grid.picture, false).photograph.has_value();
  });
  // Only queries behind the image see its high-resolution tokens wholly.
  const bool behind = set != "region" && set != "high" && set != "index";
  Figure figure;
  figure.columns = static_cast<int>(schemes.size()) + (pictured ? 1 : 0);
  for (const AttentionGrid& cells : grids) {
    if (cells.high && !behind) continue;
    const Backdrop backdrop = read_backdrop(result, cells.picture, set == "region");
    for (size_t m = 0; m < maps.front().names.size(); ++m) {
      std::vector<std::vector<double>> values;
      for (const Maps& of_scheme : maps)
        values.push_back(cell_values(cells, of_scheme.values[static_cast<int64_t>(m)]));
      const double top = std::max(top_of(values), 1e-9);
      const std::string map_name = maps.front().names[m].empty() ? "" : ", " + maps.front().names[m];
      Raster raster;
      raster.rows = cells.rows;
      raster.columns = cells.columns;
      raster.low = 0;
      raster.label = "attention, %";
      if (const double largest = largest_of(values); largest > 1.005 * top)
        raster.label += fmt::format(" (largest: {:.3g})", largest);
      raster.high = top;
      raster.photograph = backdrop.photograph;
      raster.boxes = backdrop.boxes;
      if (pictured) {
        Panel panel;
        panel.title = backdrop.photograph ? "image" : "(pixels not kept)";
        panel.raster = raster;
        panel.raster->values.assign(cells.token.size(), NAN);
        panel.raster->colour_bar = false;
        figure.panels.push_back(std::move(panel));
      }
      for (size_t s = 0; s < schemes.size(); ++s) {
        Panel panel;
        panel.title = fmt::format("{}: {}{}", short_label(schemes[s]), cells.label, map_name);
        panel.raster = raster;
        panel.raster->values = std::move(values[s]);
        panel.raster->colour_bar = s + 1 == schemes.size();
        figure.panels.push_back(std::move(panel));
      }
    }
  }
  if (figure.panels.empty()) throw InputError("{}: holds no grid of visual tokens", result.path().string());
  figure.panel_height_cm = figure.columns > 2 ? 5.0 : 7.0;
  figure.title = fmt::format("Attention from {} onto the image", set_title(result, set));
  figure.note = caption(result, drawn_of(maps.front().names.size(), maps.front().all, "maps",
                                         selection.average == "layers" ? "heads" : "layers"));
  return figure;
}

Figure attention_layers(const ResultReader& result, const FigureSelection&) {
  const std::vector<std::string> schemes = read_schemes(result, "/attention/table/scheme");
  const auto inputs = static_cast<int64_t>(result.read_strings("/attention/inputs/name").size());
  struct Shown {
    const char* measure;
    const char* label;
  };
  Figure figure;
  for (const Shown& shown : {Shown{"visual_share", "attention on visual tokens, %"},
                             Shown{"hit_top1", "own thumbnail token first (hit@1), %"}}) {
    if (!result.has(scheme_group(kRoot, schemes.front()) + "/measures/" + shown.measure)) continue;
    Panel panel;
    panel.x.label = "layer";
    panel.x.ticks = layer_ticks(read_axes(result, scheme_group(kRoot, schemes.front()) + "/layer_index", 1));
    panel.y.label = shown.label;
    panel.y.low = 0.0;
    bool any = false;
    for (size_t s = 0; s < schemes.size(); ++s) {
      Series series;
      series.label = short_label(schemes[s]);
      series.colour = curve_colour(s, schemes.size());
      series.x = to_vector(read_axes(result, scheme_group(kRoot, schemes[s]) + "/layer_index", 1));
      for (const double value : by_layer(result, schemes[s], shown.measure, inputs)) {
        series.y.push_back(100 * value);
        any = any || std::isfinite(value);
      }
      if (series.x.size() != series.y.size()) {
        throw InputError("{}: measures of {}: expected one value a layer", result.path().string(),
                         schemes[s]);
      }
      series.points = series.x.size() == 1;
      panel.series.push_back(std::move(series));
    }
    if (any) figure.panels.push_back(std::move(panel));
  }
  if (figure.panels.empty()) throw InputError("{}: holds no visual tokens", result.path().string());
  figure.columns = static_cast<int>(figure.panels.size());
  figure.title = "Attention layer by layer, mean over heads and queries";
  figure.note = caption(result);
  return figure;
}

Figure attention_fading(const ResultReader& result, const FigureSelection&) {
  Panel panel = fading_panel(result, kRoot, read_schemes(result, "/attention/table/scheme"));
  panel.y.label = "share of attention on visual tokens";
  Figure figure;
  figure.title = "Visual fading: attention on the image as text grows between image and question";
  figure.note = caption(result);
  figure.panels = {panel};
  figure.panel_height_cm = 9.0;
  return figure;
}

}  // namespace ropescope
