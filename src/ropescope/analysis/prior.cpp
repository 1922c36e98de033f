#include "ropescope/analysis/prior.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/analysis/decay_layers.h"
#include "ropescope/analysis/prior_scheme.h"
#include "ropescope/analysis/statistics.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

RopeConfig chosen_rope(const Samples& samples, const PriorOptions& options) {
  if (options.rope) return *options.rope;
  if (samples.model.rope) return *samples.model.rope;
  throw UsageError("--rope-theta is required: the samples do not say their model's rope_theta");
}

/// Of each layer, with the base that is used.
std::vector<LayerFacts> facts_in_use(const Samples& samples, const PriorOptions& options) {
  std::vector<LayerFacts> facts = samples.model.layers;
  if (facts.empty()) {
    LayerFacts alike;
    alike.rope = chosen_rope(samples, options);
    alike.head_dim = samples.moments->mean_q.size(2);
    facts.assign(static_cast<size_t>(samples.moments->mean_q.size(0)), alike);
  } else if (options.rope) {
    for (LayerFacts& layer : facts) layer.rope.theta = options.rope->theta;
  }
  return facts;
}

/// What the report says of the layers' encodings.
void describe_layers(const Samples& samples, const PriorCoefficients& coefficients, PriorResult& result) {
  result.theta = kNan;
  bool first = true;
  for (const PriorPart& part : coefficients.parts) {
    if (!part.facts.rotates) continue;
    if (first) result.rope = part.facts.rope;
    result.theta = first || part.facts.rope.theta == result.theta ? part.facts.rope.theta : kNan;
    if (std::isnan(result.theta)) break;
    first = false;
  }
  if (samples.model.layers.empty()) return;
  at::Tensor chosen = at::zeros({coefficients.model_layers}, at::kBool);
  for (const int64_t layer : coefficients.layer) chosen[layer] = true;
  for (const LayerKind& kind : decay_layers(samples.model, chosen).kinds) {
    result.layers += fmt::format("{}{}: layers {}", result.layers.empty() ? "" : "; ", kind.name,
                                 ranges_text(kind.layers));
  }
}

void check_options(const PriorOptions& options) {
  const auto& lengths = options.text_lengths;
  if (lengths.empty() || lengths.front() < 0 ||
      std::adjacent_find(lengths.begin(), lengths.end(), std::greater_equal<>()) != lengths.end()) {
    throw UsageError("--text-lengths: expected ascending numbers of tokens, for example 0,1024,32768");
  }
}

size_t ordering_length(const std::vector<int64_t>& lengths, int64_t tokens, int64_t context) {
  if (context == 0 || tokens + lengths.front() > context) return lengths.size() - 1;
  size_t last = 0;
  while (last + 1 < lengths.size() && tokens + lengths[last + 1] <= context) ++last;
  return last;
}

void spread_over_heads(const at::Tensor& values, PriorNumber& number) {
  const auto count = values.size(0);
  if (count < 2) return;
  const double error =
      values.std(0, /*unbiased=*/true).item<double>() / std::sqrt(static_cast<double>(count));
  const double reach = error * student_quantile(0.95, count - 1);
  number.ci95_low = number.mean - reach;
  number.ci95_high = number.mean + reach;
}

/// Means and intervals of what a scheme's heads gave.
std::vector<PriorNumber> summarise(const std::vector<HeadNumbers>& all,
                                   const PriorCoefficients& coefficients) {
  const double heads = static_cast<double>(coefficients.count());
  std::vector<PriorNumber> numbers;
  std::vector<at::Tensor> gradients;
  for (const HeadNumbers& values : all) {
    // A window may leave heads without a visual key: such a number is over those that have it.
    const at::Tensor has = values.by_row.isnan().logical_not();
    const double with = has.sum().item<double>();
    const bool some = with > 0 && with < heads;
    const double mean =
        some ? values.by_row.nansum().item<double>() / with : values.by_row.mean().item<double>();
    PriorNumber number{values.name, mean, kNan, kNan, {}};
    number.by_head = at::full({coefficients.model_layers, coefficients.model_heads}, kNan, at::kDouble);
    number.by_head.index_put_(
        {at::tensor(coefficients.layer, at::kLong), at::tensor(coefficients.head, at::kLong)}, values.by_row);
    if (values.gradient.defined() && coefficients.texts > 0) {
      gradients.push_back(some ? values.gradient.nan_to_num(0.0).flatten() / with
                               : values.gradient.flatten() / heads);
    } else if (std::isfinite(number.mean)) {
      spread_over_heads(some ? values.by_row.index({has}) : values.by_row, number);
    }
    numbers.push_back(std::move(number));
  }
  if (gradients.empty()) return numbers;

  const at::Tensor gradient = at::stack(gradients);
  std::vector<at::Tensor> without;
  for (int64_t text = 0; text < coefficients.texts; ++text) {
    without.push_back(gradient.matmul((coefficients.rows_without_text(text) - coefficients.rows).flatten()));
  }
  const at::Tensor deviations = jackknife_deviations(at::stack(without));
  const at::Tensor error = deviations.pow(2).sum(0).sqrt() * student_quantile(0.95, coefficients.texts - 1);
  int64_t row = 0;
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!all[i].gradient.defined()) continue;
    const double reach = error[row++].item<double>();
    numbers[i].ci95_low = numbers[i].mean - reach;
    numbers[i].ci95_high = numbers[i].mean + reach;
  }
  return numbers;
}

}  // namespace

const PriorNumber& SchemePrior::number(const std::string& name) const {
  for (const PriorNumber& one : numbers) {
    if (one.name == name) return one;
  }
  throw InternalError("prior: no number \"{}\"", name);
}

PriorResult compute_prior(const Samples& samples, const Layout& layout,
                          const std::vector<std::string>& schemes, const PriorOptions& options) {
  check_options(options);
  if (schemes.empty()) throw UsageError("--schemes: expected at least one scheme, found none");
  PriorResult result;
  result.options = options;
  result.layout = layout;
  const std::vector<LayerFacts> facts = facts_in_use(samples, options);
  const int64_t query = query_token(layout, options.query);
  std::vector<Scheme> parsed;
  std::set<std::string> seen;
  for (const std::string& text : schemes) {
    if (!seen.insert(text).second) throw UsageError("--schemes: \"{}\" stands there twice", text);
    parsed.emplace_back(text);
  }
  const PriorCoefficients coefficients = prior_coefficients(samples, facts, options.layers, options.heads);
  describe_layers(samples, coefficients, result);
  result.head_count = coefficients.count();
  result.interval =
      coefficients.texts > 0
          ? "95%, delete-one-text jackknife of first order, Student t with texts - 1 degrees of freedom; "
            "partner_rank: spread over layers x heads"
          : "95%, spread over layers x heads (the file holds no moments of single texts), Student t";

  for (size_t i = 0; i < parsed.size(); ++i) {
    const auto start = std::chrono::steady_clock::now();
    const PriorSetting setting{coefficients, samples.model.max_position_embeddings, layout, query, options};
    SchemeNumbers numbers = evaluate_scheme(parsed[i], setting);
    SchemePrior prior = std::move(numbers.maps);
    prior.scheme = schemes[i];
    prior.query = query;
    std::vector<PriorNumber> all = summarise(numbers.values, coefficients);
    const auto lengths = static_cast<std::ptrdiff_t>(options.text_lengths.size());
    prior.fading.assign(all.end() - lengths, all.end());
    all.resize(all.size() - static_cast<size_t>(lengths));
    prior.numbers = std::move(all);
    prior.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result.schemes.push_back(std::move(prior));
  }
  result.trained_context = samples.model.max_position_embeddings;
  result.ordered_by = ordering_length(options.text_lengths, layout.tokens(), result.trained_context);
  std::stable_sort(result.schemes.begin(), result.schemes.end(),
                   [&](const SchemePrior& a, const SchemePrior& b) {
                     return a.fading[result.ordered_by].mean > b.fading[result.ordered_by].mean;
                   });
  return result;
}

}  // namespace ropescope
