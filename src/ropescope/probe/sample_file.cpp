#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/probe/samples.h"

namespace ropescope {

namespace {

// Beyond any model; keeps a damaged index from asking for terabytes.
constexpr int64_t kMostLayers = 4096;
constexpr int64_t kMostHeads = 4096;
constexpr int64_t kMostTexts = 100'000'000;
constexpr int64_t kMostTokens = int64_t{1} << 40;
constexpr int64_t kMostHeadDim = 65'536;
constexpr int64_t kMostCoefficients = int64_t{1} << 28;  // layers x heads x head_dim: 2 GiB in float64

/// Reads with checks whose errors name file and dataset.
class SampleReader {
 public:
  explicit SampleReader(const std::filesystem::path& path) : file_(path), path_(path.string()) {}

  bool has(const std::string& dataset) const { return file_.has(dataset); }
  const std::string& path() const { return path_; }

  at::Tensor floats(const std::string& dataset, int64_t dimensions, at::ScalarType dtype) const {
    const at::Tensor values = file_.read(dataset);
    if (values.dim() != dimensions) {
      throw InputError("{}: {}: expected {} dimensions, found {}", path_, dataset, dimensions, values.dim());
    }
    return values.to(dtype);
  }
  at::Tensor same_shape(const std::string& dataset, const at::Tensor& as) const {
    const at::Tensor values = floats(dataset, as.dim(), as.scalar_type());
    if (values.sizes() != as.sizes()) {
      throw InputError("{}: {}: expected the shape of its partner, found another", path_, dataset);
    }
    return values;
  }
  /// An index of each pair; zeros if the file has none.
  at::Tensor index(const std::string& dataset, int64_t count, int64_t end) const {
    if (!has(dataset)) return at::zeros({count}, at::kLong);
    const at::Tensor values = file_.read(dataset);
    if (values.dim() != 1 || values.size(0) != count) {
      throw InputError("{}: {}: expected [{}], one number for each pair", path_, dataset, count);
    }
    const at::Tensor whole = values.to(at::kLong);
    if (count > 0 && (!whole.to(values.scalar_type()).equal(values) || whole.min().item<int64_t>() < 0 ||
                      whole.max().item<int64_t>() >= end)) {
      throw InputError("{}: {}: expected whole numbers from 0 to {}", path_, dataset, end - 1);
    }
    return whole;
  }
  void check_head_dim(const std::string& dataset, int64_t head_dim) const {
    if (head_dim < 2 || head_dim % 2 != 0 || head_dim > kMostHeadDim) {
      throw InputError("{}: {}: expected an even head_dim, found {}", path_, dataset, head_dim);
    }
  }
  void check_finite(const std::string& dataset, const at::Tensor& values) const {
    if (!at::isfinite(values).all().item<bool>()) {
      throw InputError("{}: {}: expected finite numbers, found others", path_, dataset);
    }
  }

  std::optional<double> number(const std::string& name) const {
    for (const char* object : {"/model", "/pairs", "/moments", "/"}) {
      if (!file_.has_attribute(object, name)) continue;
      const Attribute value = file_.attribute(object, name);
      if (const auto* real = std::get_if<double>(&value)) return *real;
      if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
    }
    return std::nullopt;
  }
  int64_t whole(const std::string& name, int64_t most) const {
    const double value = number(name).value_or(0.0);
    if (!(value >= 0.0) || value > static_cast<double>(most) || value != std::floor(value)) {
      throw InputError("{}: attribute {}: expected a whole number up to {}, found {}", path_, name, most,
                       value);
    }
    return static_cast<int64_t>(value);
  }
  ModelFacts model() const;

 private:
  ResultReader file_;
  std::string path_;
};

ModelFacts SampleReader::model() const {
  ModelFacts facts;
  if (const auto theta = number("rope_theta")) {
    if (!(*theta > 0.0) || !std::isfinite(*theta)) {
      throw InputError("{}: attribute rope_theta: expected a positive number, found {}", path_, *theta);
    }
    RopeConfig rope;
    rope.theta = *theta;
    if (file_.has_attribute("/model", "rope_scaling")) {
      const Attribute scaling = file_.attribute("/model", "rope_scaling");
      const std::string where = path_ + ": attribute rope_scaling";
      if (const auto* text = std::get_if<std::string>(&scaling)) {
        rope = parse_rope_scaling(parse_json(*text, where), rope, where);
        rope.theta = *theta;
      }
    }
    facts.rope = rope;
  }
  if (file_.has_attribute("/model", "scheme")) {
    const Attribute scheme = file_.attribute("/model", "scheme");
    if (const auto* text = std::get_if<std::string>(&scheme)) facts.scheme = *text;
  }
  facts.num_layers = whole("num_hidden_layers", kMostLayers);
  facts.num_heads = whole("num_attention_heads", kMostHeads);
  facts.num_key_value_heads = whole("num_key_value_heads", kMostHeads);
  facts.max_position_embeddings = whole("max_position_embeddings", int64_t{1} << 40);
  if (file_.has_attribute("/model", "sources")) {
    const Attribute sources = file_.attribute("/model", "sources");
    if (const auto* text = std::get_if<std::string>(&sources)) facts.sources = *text;
  }
  facts.layers = read_layer_facts(file_, facts.max_position_embeddings);
  const auto described = static_cast<int64_t>(facts.layers.size());
  if (described > 0 && facts.num_layers == 0) facts.num_layers = described;
  if (described > 0 && facts.num_layers != described) {
    throw InputError("{}: /samples/layers: expected the {} layers of num_hidden_layers, found {}", path_,
                     facts.num_layers, described);
  }
  return facts;
}

/// What /samples/layers says must fit the vectors. `sampled`: [L] bool.
void check_layers(const SampleReader& reader, const ModelFacts& model, const at::Tensor& sampled,
                  const char* dataset) {
  if (model.layers.empty()) return;
  for (int64_t l = 0; l < model.num_layers; ++l) {
    if (!sampled[l].item<bool>()) continue;
    const LayerFacts& layer = model.layers[static_cast<size_t>(l)];
    if (!layer.has_qk) {
      throw InputError(
          "{}: {}: expected layers with queries and keys as /samples/layers/has_qk has it, found layer {}",
          reader.path(), dataset, l);
    }
    if (layer.head_dim != model.head_dim) {
      throw InputError("{}: {}: layer {}: expected {} channels as /samples/layers/head_dim has it, found {}",
                       reader.path(), dataset, l, layer.head_dim, model.head_dim);
    }
  }
}

PairSet read_pairs(const SampleReader& reader, ModelFacts& model) {
  PairSet pairs;
  pairs.q = reader.floats("/pairs/q", 2, at::kDouble);
  pairs.k = reader.same_shape("/pairs/k", pairs.q);
  const int64_t count = pairs.q.size(0);
  model.head_dim = pairs.q.size(1);
  reader.check_head_dim("/pairs/q", model.head_dim);
  reader.check_finite("/pairs/q", pairs.q);
  reader.check_finite("/pairs/k", pairs.k);
  if (count == 0) throw InputError("{}: /pairs/q: expected at least one pair, found none", reader.path());
  const auto end_or = [](int64_t known, int64_t most) { return known > 0 ? known : most; };
  pairs.text = reader.index("/pairs/text", count, kMostTexts);
  pairs.layer = reader.index("/pairs/layer", count, end_or(model.num_layers, kMostLayers));
  pairs.head = reader.index("/pairs/head", count, end_or(model.num_heads, kMostHeads));
  if (reader.has("/pairs/kind")) pairs.kind = reader.index("/pairs/kind", count, kPairKinds);
  if (model.num_layers == 0) model.num_layers = pairs.layer.max().item<int64_t>() + 1;
  if (model.num_heads == 0) model.num_heads = pairs.head.max().item<int64_t>() + 1;
  if (model.num_layers * model.num_heads > kMostCoefficients / model.head_dim) {
    throw InputError(
        "{}: /pairs/layer, /pairs/head: expected the indices of a model, found {} layers x {} heads x {} "
        "channels",
        reader.path(), model.num_layers, model.num_heads, model.head_dim);
  }
  check_layers(reader, model, at::bincount(pairs.layer, {}, model.num_layers) > 0, "/pairs/layer");
  return pairs;
}

MomentSet read_moments(const SampleReader& reader, ModelFacts& model) {
  MomentSet set;
  set.mean_q = reader.floats("/moments/mean_q", 3, at::kDouble);
  set.mean_k = reader.same_shape("/moments/mean_k", set.mean_q);
  const int64_t layers = set.mean_q.size(0);
  const int64_t heads = set.mean_q.size(1);
  if (!model.layers.empty() && layers != model.num_layers) {
    throw InputError("{}: /moments/mean_q: expected the {} layers of /samples/layers, found {}",
                     reader.path(), model.num_layers, layers);
  }
  model.num_layers = layers;
  model.num_heads = heads;
  model.head_dim = set.mean_q.size(2);
  reader.check_head_dim("/moments/mean_q", model.head_dim);
  if (layers == 0 || heads == 0)
    throw InputError("{}: /moments/mean_q: expected layers and heads, found none", reader.path());
  const at::Tensor finite = at::isfinite(set.mean_q).all(-1).logical_and(at::isfinite(set.mean_k).all(-1));
  set.count = finite.to(at::kLong);
  if (reader.has("/moments/count")) {
    set.count = reader.same_shape("/moments/count", set.count);
    // A head that was measured must have means; one that was not may have anything.
    reader.check_finite("/moments/mean_q", set.mean_q.masked_fill(set.count.unsqueeze(-1) <= 0, 0.0));
    reader.check_finite("/moments/mean_k", set.mean_k.masked_fill(set.count.unsqueeze(-1) <= 0, 0.0));
  }
  if (set.count.max().item<int64_t>() <= 0) {
    throw InputError("{}: /moments/mean_q: expected at least one head with finite means, found none",
                     reader.path());
  }
  check_layers(reader, model, (set.count > 0).any(1), "/moments/mean_q");
  if (reader.has("/moments/cov_q") && reader.has("/moments/cov_k")) {
    const at::Tensor shape =
        at::zeros({1}, at::kDouble).expand({layers, heads, model.head_dim, model.head_dim});
    set.cov_q = reader.same_shape("/moments/cov_q", shape);
    set.cov_k = reader.same_shape("/moments/cov_k", shape);
  }
  if (reader.has("/moments/text_mean_q") && reader.has("/moments/text_mean_k") &&
      reader.has("/moments/text_count")) {
    const at::Tensor text_mean_q = reader.floats("/moments/text_mean_q", 4, at::kFloat);
    const int64_t texts = text_mean_q.size(0);
    set.text_count = reader.index("/moments/text_count", texts, int64_t{1} << 40);
    const at::Tensor shape = at::zeros({1}, at::kFloat).expand({texts, layers, heads, model.head_dim});
    set.text_mean_q = reader.same_shape("/moments/text_mean_q", shape);
    set.text_mean_k = reader.same_shape("/moments/text_mean_k", shape);
  }
  return set;
}

void check_selection(const SampleReader& reader, const SampleSelection& selection, const ModelFacts& model,
                     SampleSource source) {
  const auto check = [](const char* flag, const std::vector<int64_t>& values, int64_t end) {
    for (const int64_t value : values) {
      if (value < 0 || value >= end) {
        throw UsageError("--{}: expected numbers from 0 to {}, found {}", flag, end - 1, value);
      }
    }
  };
  check("layers", selection.layers, model.num_layers);
  check("heads", selection.heads, model.num_heads);
  for (const int64_t layer : selection.layers) {
    if (model.layers.empty() || model.layers[static_cast<size_t>(layer)].has_qk) continue;
    throw UsageError(
        "--layers: expected layers that have queries and keys of their own, found {} ({}), of which {} holds none",
        layer, model.layers[static_cast<size_t>(layer)].kind, reader.path());
  }
  if (source == SampleSource::kMoments) {
    if (selection.causal)
      throw UsageError("--causal: expected --source pairs, since moments are of all tokens");
    return;
  }
  const auto needs = [&](bool asked, const char* flag, const char* dataset) {
    if (asked && !reader.has(dataset)) {
      throw UsageError("--{}: {} does not say it of its pairs ({} is not there); leave the flag out", flag,
                       reader.path(), dataset);
    }
  };
  needs(!selection.layers.empty(), "layers", "/pairs/layer");
  needs(!selection.heads.empty(), "heads", "/pairs/head");
  needs(selection.causal, "causal", "/pairs/query");
  needs(selection.causal, "causal", "/pairs/key");
}

/// [size] bool: is the index among the wanted ones? All of them where none is named.
at::Tensor is_among(const at::Tensor& index, const std::vector<int64_t>& values) {
  at::Tensor mask = at::full(index.sizes(), values.empty(), at::kBool);
  for (const int64_t value : values) mask.logical_or_(index.eq(value));
  return mask;
}

void select_pairs(const SampleReader& reader, const SampleSelection& selection, PairSet& pairs) {
  at::Tensor keep =
      is_among(pairs.layer, selection.layers).logical_and(is_among(pairs.head, selection.heads));
  if (selection.causal) {
    const at::Tensor query = reader.index("/pairs/query", pairs.size(), kMostTokens);
    keep.logical_and_(reader.index("/pairs/key", pairs.size(), kMostTokens).le(query));
  }
  const at::Tensor rows = keep.nonzero().squeeze(1);
  if (rows.numel() == 0) {
    throw InputError("{}: /pairs: expected pairs of {}, found none", reader.path(), selection.text());
  }
  for (at::Tensor* part : {&pairs.q, &pairs.k, &pairs.text, &pairs.layer, &pairs.head, &pairs.kind}) {
    if (part->defined()) *part = part->index_select(0, rows);
  }
}

void select_moments(const SampleReader& reader, const SampleSelection& selection, MomentSet& set) {
  const at::Tensor layer = at::arange(set.count.size(0), at::kLong).unsqueeze(1).expand_as(set.count);
  const at::Tensor head = at::arange(set.count.size(1), at::kLong).unsqueeze(0).expand_as(set.count);
  const at::Tensor others =
      is_among(layer, selection.layers).logical_and(is_among(head, selection.heads)).logical_not();
  set.count = set.count.masked_fill(others, 0);
  if (set.count.max().item<int64_t>() <= 0) {
    throw InputError("{}: /moments: expected heads measured in {}, found none", reader.path(),
                     selection.text());
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (at::Tensor* mean : {&set.mean_q, &set.mean_k, &set.text_mean_q, &set.text_mean_k}) {
    if (mean->defined()) *mean = mean->masked_fill(others.unsqueeze(-1), nan);
  }
  for (at::Tensor* covariance : {&set.cov_q, &set.cov_k}) {
    if (covariance->defined()) *covariance = covariance->masked_fill(others.unsqueeze(-1).unsqueeze(-1), nan);
  }
}

}  // namespace

std::string ranges_text(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  std::string text;
  for (size_t first = 0; first < values.size();) {
    size_t last = first;
    while (last + 1 < values.size() && values[last + 1] == values[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", values[first]);
    if (last > first) text += fmt::format("-{}", values[last]);
    first = last + 1;
  }
  return text;
}

std::string SampleSelection::text() const {
  std::string words;
  const auto add = [&](const std::string& part) { words += (words.empty() ? "" : "; ") + part; };
  if (!layers.empty()) add("layers " + ranges_text(layers));
  if (!heads.empty()) add("heads " + ranges_text(heads));
  if (causal) add("causal pairs");
  return words;
}

Samples read_samples(const std::filesystem::path& path, SampleSource source,
                     const SampleSelection& selection) {
  const SampleReader reader(path);
  Samples samples;
  samples.model = reader.model();
  if (source == SampleSource::kPairs) {
    samples.pairs = read_pairs(reader, samples.model);
  } else {
    samples.moments = read_moments(reader, samples.model);
  }
  if (selection.empty()) return samples;
  check_selection(reader, selection, samples.model, source);
  if (source == SampleSource::kPairs) {
    select_pairs(reader, selection, samples.pairs);
  } else {
    select_moments(reader, selection, *samples.moments);
  }
  return samples;
}

}  // namespace ropescope
