// /samples/layers, written and read with checks: the file may come from anywhere.
#include <algorithm>
#include <cmath>

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/probe/layer_facts.h"

namespace ropescope {

namespace {

constexpr const char* kLayerGroup = "/samples/layers";
constexpr int64_t kMostFactLayers = 4096;
constexpr int64_t kMostChannels = 65'536;
constexpr int64_t kMostWindow = int64_t{1} << 40;
constexpr double kSameFrequency = 1e-6;  // relative: a file may have gone through other writers

std::string fact_path(const char* name) { return std::string(kLayerGroup) + "/" + name; }

template <typename T, typename Of>
at::Tensor fact_column(const std::vector<LayerFacts>& layers, at::ScalarType type, const Of& of) {
  std::vector<T> values;
  for (const LayerFacts& layer : layers) values.push_back(of(layer));
  return at::tensor(values).to(type);  // at::tensor itself makes no bool
}

/// One dataset after the other, each [L].
class FactReader {
 public:
  FactReader(const ResultReader& file, int64_t layers)
      : file_(file), path_(file.path().string()), layers_(layers) {}

  std::vector<std::string> strings(const char* name) const {
    const auto values = file_.read_strings(fact_path(name));
    if (static_cast<int64_t>(values.size()) != layers_) wrong_size(name, static_cast<int64_t>(values.size()));
    return values;
  }
  std::vector<double> numbers(const char* name) const {
    const at::Tensor values = file_.read(fact_path(name));
    if (values.dim() != 1 || values.size(0) != layers_) wrong_size(name, values.numel());
    const at::Tensor wide = values.to(at::kDouble).contiguous();
    return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + layers_};
  }
  std::vector<int64_t> wholes(const char* name, int64_t most) const {
    std::vector<int64_t> result;
    for (const double value : numbers(name)) {
      if (!(value >= 0) || value > static_cast<double>(most) || value != std::floor(value)) {
        throw InputError("{}: {}: expected whole numbers from 0 to {}, found {}", path_, fact_path(name),
                         most, value);
      }
      result.push_back(static_cast<int64_t>(value));
    }
    return result;
  }
  [[noreturn]] void wrong_size(const char* name, int64_t found) const {
    throw InputError("{}: {}: expected [{}], one entry a layer, found {}", path_, fact_path(name), layers_,
                     found);
  }
  std::string where(const char* name, size_t layer) const {
    return fmt::format("{}: {}, layer {}", path_, fact_path(name), layer);
  }

 private:
  const ResultReader& file_;
  std::string path_;
  int64_t layers_;
};

RopeConfig read_layer_rope(const FactReader& reader, size_t layer, const std::string& scaling,
                           const std::string& type, double theta) {
  if (!(theta > 0) || !std::isfinite(theta)) {
    throw InputError("{}: expected a positive number, found {}", reader.where("rope_theta", layer), theta);
  }
  const std::string where = reader.where("rope_scaling", layer);
  RopeConfig rope;
  rope.theta = theta;
  rope = parse_rope_scaling(parse_json(scaling, where), rope, where);
  rope.theta = theta;
  if (rope_type_name(rope.type) != type) {
    throw InputError("{}: expected \"{}\" as rope_scaling has it, found \"{}\"",
                     reader.where("rope_type", layer), rope_type_name(rope.type), type);
  }
  return rope;
}

void check_heads(const FactReader& reader, size_t layer, const LayerFacts& facts) {
  if (!facts.has_qk) return;
  if (facts.head_dim < 2 || facts.head_dim % 2 != 0) {
    throw InputError("{}: expected an even number of channels, found {}", reader.where("head_dim", layer),
                     facts.head_dim);
  }
  if (facts.first_rotary > facts.head_dim - 2) {
    throw InputError("{}: expected a channel of the head's {}, found {}", reader.where("first_rotary", layer),
                     facts.head_dim, facts.first_rotary);
  }
}

/// The frequencies are said twice, by the settings and as numbers: both must be the same.
void check_frequencies(const FactReader& reader, const at::Tensor& inv_freq, size_t layer,
                       const LayerFacts& facts, int64_t rotary_dims, int64_t max_position_embeddings) {
  if (!facts.has_qk || !facts.rotates) {
    if (rotary_dims != 0 && !facts.rotates) {
      throw InputError("{}: expected 0 of a layer that does not rotate, found {}",
                       reader.where("rotary_dims", layer), rotary_dims);
    }
    return;
  }
  at::Tensor expected;
  try {
    expected = layer_frequencies(facts, max_position_embeddings).inv_freq;
  } catch (const InputError& error) {
    throw InputError("{}: {}", reader.where("rope_scaling", layer), error.what());
  }
  const int64_t pairs = expected.size(0);
  if (rotary_dims != 2 * pairs) {
    throw InputError("{}: expected {} as rope_scaling has it, found {}", reader.where("rotary_dims", layer),
                     2 * pairs, rotary_dims);
  }
  const at::Tensor found = inv_freq[static_cast<int64_t>(layer)];
  if (found.size(0) < pairs ||
      !(found.narrow(0, 0, pairs) - expected).abs().le(expected * kSameFrequency).all().item<bool>() ||
      !found.narrow(0, pairs, found.size(0) - pairs).isnan().all().item<bool>()) {
    throw InputError("{}: expected the {} frequencies of rope_theta and rope_scaling, then NaN; found others",
                     reader.where("inv_freq", layer), pairs);
  }
}

}  // namespace

void write_layer_facts(ResultWriter& writer, const std::vector<LayerFacts>& layers,
                       int64_t max_position_embeddings) {
  if (layers.empty()) return;
  const auto whole = [&](const char* name, const auto& of) {
    writer.write(fact_path(name), fact_column<int64_t>(layers, at::kLong, of));
  };
  const auto real = [&](const char* name, const auto& of) {
    writer.write(fact_path(name), fact_column<double>(layers, at::kDouble, of));
  };
  const auto yes = [&](const char* name, const auto& of) {
    writer.write(fact_path(name), fact_column<int64_t>(layers, at::kBool, of));
  };
  const auto text = [&](const char* name, const auto& of) {
    std::vector<std::string> values;
    for (const LayerFacts& layer : layers) values.push_back(of(layer));
    writer.write(fact_path(name), values);
  };
  std::vector<Frequencies> frequencies;
  int64_t most = 1;
  for (const LayerFacts& layer : layers) {
    frequencies.push_back(layer.rotates ? layer_frequencies(layer, max_position_embeddings) : Frequencies{});
    if (layer.rotates) most = std::max(most, frequencies.back().inv_freq.size(0));
  }
  const auto count = static_cast<int64_t>(layers.size());
  at::Tensor inv_freq = at::full({count, most}, kNan, at::kDouble);
  std::vector<int64_t> rotary_dims(layers.size(), 0);
  std::vector<double> attention_scale(layers.size(), 1.0);
  for (size_t l = 0; l < layers.size(); ++l) {
    if (!layers[l].rotates) continue;
    const int64_t pairs = frequencies[l].inv_freq.size(0);
    inv_freq[static_cast<int64_t>(l)].narrow(0, 0, pairs).copy_(frequencies[l].inv_freq);
    rotary_dims[l] = 2 * pairs;
    attention_scale[l] = frequencies[l].attention_scale;
  }

  text("kind", [](const LayerFacts& layer) { return layer.kind; });
  yes("has_qk", [](const LayerFacts& layer) { return int64_t{layer.has_qk}; });
  yes("rotates", [](const LayerFacts& layer) { return int64_t{layer.rotates}; });
  real("rope_theta", [](const LayerFacts& layer) { return layer.rotates ? layer.rope.theta : kNan; });
  text("rope_type",
       [](const LayerFacts& layer) { return layer.rotates ? rope_type_name(layer.rope.type) : ""; });
  text("rope_scaling",
       [](const LayerFacts& layer) { return layer.rotates ? to_json(layer.rope).dump() : ""; });
  writer.write(fact_path("inv_freq"), inv_freq);
  writer.write(fact_path("attention_scale"), at::tensor(attention_scale, at::kDouble));
  whole("head_dim", [](const LayerFacts& layer) { return layer.head_dim; });
  whole("first_rotary", [](const LayerFacts& layer) { return layer.first_rotary; });
  writer.write(fact_path("rotary_dims"), at::tensor(rotary_dims, at::kLong));
  text("pairs", [](const LayerFacts& layer) {
    return std::string(layer.pairing == PairLayout::kAdjacent ? "adjacent" : "half");
  });
  whole("window", [](const LayerFacts& layer) { return layer.window; });
  whole("chunk", [](const LayerFacts& layer) { return layer.chunk; });
  real("score_scale", [](const LayerFacts& layer) { return layer.score_scale; });
  yes("norm_after_rotation", [](const LayerFacts& layer) { return int64_t{layer.norm_after_rotation}; });
  writer.attribute(kLayerGroup, "none",
                   std::string("0 in window and chunk: every key before the query is seen"));
}

std::vector<LayerFacts> read_layer_facts(const ResultReader& file, int64_t max_position_embeddings) {
  if (!file.has(kLayerGroup)) return {};
  const std::string path = file.path().string();
  const std::vector<std::string> kinds = file.read_strings(fact_path("kind"));
  const auto count = static_cast<int64_t>(kinds.size());
  if (count < 1 || count > kMostFactLayers) {
    throw InputError("{}: {}: expected the layers of a model, found {}", path, fact_path("kind"), count);
  }
  const FactReader reader(file, count);
  const auto has_qk = reader.wholes("has_qk", 1), rotates = reader.wholes("rotates", 1),
             norm_after = reader.wholes("norm_after_rotation", 1),
             head_dim = reader.wholes("head_dim", kMostChannels),
             first_rotary = reader.wholes("first_rotary", kMostChannels),
             rotary_dims = reader.wholes("rotary_dims", kMostChannels),
             window = reader.wholes("window", kMostWindow), chunk = reader.wholes("chunk", kMostWindow);
  const auto theta = reader.numbers("rope_theta"), score_scale = reader.numbers("score_scale");
  const auto type = reader.strings("rope_type"), scaling = reader.strings("rope_scaling"),
             pairs = reader.strings("pairs");
  const at::Tensor inv_freq = file.read(fact_path("inv_freq")).to(at::kDouble);
  if (inv_freq.dim() != 2 || inv_freq.size(0) != count) {
    throw InputError("{}: {}: expected [{}, pairs], one row a layer", path, fact_path("inv_freq"), count);
  }
  std::vector<LayerFacts> layers(kinds.size());
  for (size_t l = 0; l < layers.size(); ++l) {
    LayerFacts& layer = layers[l];
    layer.kind = kinds[l];
    layer.has_qk = has_qk[l] != 0;
    layer.rotates = rotates[l] != 0;
    if (layer.rotates) layer.rope = read_layer_rope(reader, l, scaling[l], type[l], theta[l]);
    layer.head_dim = head_dim[l];
    layer.first_rotary = first_rotary[l];
    if (pairs[l] != "half" && pairs[l] != "adjacent") {
      throw InputError("{}: expected half or adjacent, found \"{}\"", reader.where("pairs", l), pairs[l]);
    }
    layer.pairing = pairs[l] == "adjacent" ? PairLayout::kAdjacent : PairLayout::kHalfSplit;
    layer.window = window[l];
    layer.chunk = chunk[l];
    layer.score_scale = score_scale[l];
    if (!std::isfinite(layer.score_scale)) {
      throw InputError("{}: expected a finite number, found {}", reader.where("score_scale", l),
                       layer.score_scale);
    }
    layer.norm_after_rotation = norm_after[l] != 0;
    check_heads(reader, l, layer);
    check_frequencies(reader, inv_freq, l, layer, rotary_dims[l], max_position_embeddings);
  }
  return layers;
}

}  // namespace ropescope
