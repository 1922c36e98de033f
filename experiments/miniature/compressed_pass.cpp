#include "compressed_pass.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/kernels/row_loops.h"

#include "quick_sums.h"
#include "small_products.h"

namespace ropescope::miniature {

namespace {

double product_of_rows(const float* a, const float* b, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double norm_of_row(const float* a, int64_t width) { return std::sqrt(product_of_rows(a, a, width)); }

/// The member with the largest norm.
int64_t longest_of(const std::vector<int64_t>& group, const float* from, int64_t width) {
  return *std::max_element(group.begin(), group.end(), [&](int64_t a, int64_t b) {
    return norm_of_row(from + a * width, width) < norm_of_row(from + b * width, width);
  });
}

constexpr double kLeastNorm = 1e-12;  // of a mean that has no direction

}  // namespace

const float* Reduction::forward(const Members& groups, bool keep_norm, const float* from, int64_t tokens,
                                int64_t width) {
  groups_ = groups;
  keep_norm_ = keep_norm;
  from_ = from;
  tokens_ = tokens;
  width_ = width;
  out_.assign(groups.size() * static_cast<size_t>(width), 0.0F);
  float* y = out_.data();
  for (const std::vector<int64_t>& group : groups_) {
    if (group.size() == 1) {
      std::copy_n(from + group.front() * width, width, y);
    } else {
      const float share = 1.0F / static_cast<float>(group.size());
      for (const int64_t token : group) {
        for (int64_t i = 0; i < width; ++i) y[i] += share * from[token * width + i];
      }
      if (keep_norm) {
        const double longest = norm_of_row(from + longest_of(group, from, width) * width, width);
        const auto scale = static_cast<float>(longest / std::max(norm_of_row(y, width), kLeastNorm));
        for (int64_t i = 0; i < width; ++i) y[i] *= scale;
      }
    }
    y += width;
  }
  return out_.data();
}

void Reduction::backward(const float* dy, float* dx) const {
  std::fill_n(dx, tokens_ * width_, 0.0F);
  const float* y = out_.data();
  for (const std::vector<int64_t>& group : groups_) {
    // With s the mean, u = s/|s|, m the largest norm:  dL/ds = m/|s| (dy - u (u dy)),  dL/dm = u dy,  dm/dx = x/|x|.
    double scale = 1, along = 0, squared = 1;
    if (keep_norm_ && group.size() > 1) {
      const int64_t longest = longest_of(group, from_, width_);
      const double m = norm_of_row(from_ + longest * width_, width_);
      Numbers mean(static_cast<size_t>(width_), 0.0F);
      for (const int64_t token : group) {
        for (int64_t i = 0; i < width_; ++i) {
          mean[static_cast<size_t>(i)] += from_[token * width_ + i] / static_cast<float>(group.size());
        }
      }
      scale = m / std::max(norm_of_row(mean.data(), width_), kLeastNorm);
      squared = std::max(m * m, kLeastNorm);
      along = product_of_rows(dy, y, width_);  // m (u dy)
      const double to_longest = along / squared;
      for (int64_t i = 0; i < width_; ++i) {
        dx[longest * width_ + i] += static_cast<float>(to_longest * from_[longest * width_ + i]);
      }
    }
    const double share = scale / static_cast<double>(group.size());
    for (const int64_t token : group) {
      for (int64_t i = 0; i < width_; ++i) {
        dx[token * width_ + i] += static_cast<float>(share * (dy[i] - along / squared * y[i]));
      }
    }
    dy += width_;
    y += width_;
  }
}

CompressedPass::CompressedPass(const Decoder& decoder, const Scheme& scheme, PictureSequence sequence,
                               const Compression& compression)
    : decoder_(decoder),
      sequence_(std::move(sequence)),
      compression_(compression),
      ids_(scheme, encoded_model(decoder.config), sequence_, compression),
      sizes_(quick_sizes(decoder.config)) {
  const size_t layers = decoder.weights.layers.size();
  const int64_t high = static_cast<int64_t>(sequence_.high.size()), others = sequence_.tokens - high;
  if (static_cast<int64_t>(layers) <= compression.layers_before()) {
    throw UsageError("--compress {}: expected a decoder of at least {} layers, found {}",
                     compression_text(compression), compression.layers_before() + 1, layers);
  }
  weights_.resize(layers);
  reductions_.resize(layers);
  members_.resize(layers);
  tables_.resize(layers);
  const bool pools = compression.kind == CompressionKind::kPool;
  if (pools) pools_ = pooled(sequence_, compression.amount);
  int64_t before = high;
  for (size_t l = 0; l < layers; ++l) {
    const auto layer = static_cast<int64_t>(l);
    const int64_t left =
        pools ? static_cast<int64_t>(places(pools_, true).size()) : compression.left(high, layer);
    const int64_t tokens = pools ? static_cast<int64_t>(pools_.size()) : others + left;
    reduces_.push_back(
        pools ? l == 0 : left < before || (layer == compression.layers_before() && !compression.none()));
    made_at_.push_back(l == 0 || reduces_.back() ? l : made_at_.back());
    before = left;
    std::vector<int64_t> rows(static_cast<size_t>(tokens));
    std::iota(rows.begin(), rows.end(), int64_t{0});
    if (l + 1 == layers) rows.resize(static_cast<size_t>(left) + sequence_.asked.size());
    layers_.emplace_back(sizes_, tokens, std::move(rows));
    high_left_ = left;
  }
  scale_.resize(static_cast<size_t>(high_left_) + sequence_.asked.size());
  above_.resize(static_cast<size_t>(sequence_.tokens * sizes_.width));
  below_.resize(above_.size());
}

void CompressedPass::read_weights() {
  for (size_t l = 0; l < weights_.size(); ++l) weights_[l].read(decoder_.weights.layers[l], sizes_);
}

/// Which of a layer's tokens are high-resolution ones, or else asked ones.
std::vector<int64_t> CompressedPass::places(const Members& members, bool high) const {
  std::vector<int64_t> result;
  for (size_t i = 0; i < members.size(); ++i) {
    const int64_t token = members[i].front();
    const bool is_one = high ? sequence_.place_of[static_cast<size_t>(token)] >= 0
                             : std::binary_search(sequence_.asked.begin(), sequence_.asked.end(), token);
    if (is_one) result.push_back(static_cast<int64_t>(i));
  }
  return result;
}

Members CompressedPass::by_attention(const QuickLayer& layer, const Members& members, int64_t left) const {
  const std::vector<int64_t> high = places(members, true), asked = places(members, false);
  std::vector<float> scores;
  for (const int64_t token : high) {
    double sum = 0;
    for (int64_t head = 0; head < sizes_.heads; ++head) {
      for (const int64_t row : asked) sum += layer.attention(head, row)[token];
    }
    scores.push_back(
        static_cast<float>(sum / static_cast<double>(sizes_.heads * static_cast<int64_t>(asked.size()))));
  }
  Members groups;
  for (const int64_t i : largest(scores, left)) groups.push_back({i});
  return in_sequence(static_cast<int64_t>(members.size()), high, groups);
}

Members CompressedPass::by_keys(const QuickLayer& layer, const Members& members, int64_t left,
                                bool merge) const {
  const std::vector<int64_t> high = places(members, true);
  std::vector<float> keys;
  for (const int64_t token : high)
    keys.insert(keys.end(), layer.keys(token), layer.keys(token) + sizes_.width);
  return in_sequence(static_cast<int64_t>(members.size()), high,
                     alike(keys, static_cast<int64_t>(high.size()), sizes_.width, left, merge));
}

/// Groups of the tokens as they come to a layer.
Members CompressedPass::groups_before(int64_t layer, const CompressedInput& input, int64_t picture) const {
  const auto high = static_cast<int64_t>(sequence_.high.size());
  const int64_t left = compression_.left(high, layer);
  switch (compression_.kind) {
    case CompressionKind::kNone:
      break;
    case CompressionKind::kPool:
      return pools_;
    case CompressionKind::kDrop: {
      Rng rng = make_rng(input.chance, {0x64726f70, static_cast<uint64_t>(picture)});
      Members groups;
      for (const int64_t i : chosen_by_chance(high, left, rng)) groups.push_back({i});
      return in_sequence(sequence_.tokens, sequence_.high, groups);
    }
    case CompressionKind::kTome: {
      const int64_t width = input.features.size(2);
      const float* const rows =
          input.features.const_data_ptr<float>() + picture * input.features.size(1) * width;
      std::vector<float> features;
      for (const int64_t token : sequence_.high) {
        features.insert(features.end(), rows + (token - 1) * width, rows + token * width);
      }
      return in_sequence(sequence_.tokens, sequence_.high, alike(features, high, width, left, true));
    }
    case CompressionKind::kPrune:
      return by_attention(layers_[static_cast<size_t>(layer) - 1], members(layer - 1), left);
    case CompressionKind::kTofu:
      return by_keys(layers_[static_cast<size_t>(layer) - 1], members(layer - 1), left,
                     /*merge=*/layer == compression_.layers_before());
  }
  throw InternalError("compressed pass: nothing to reduce");
}

/// What a layer's tokens stand for, and their angles, which stay where they are those of the picture before.
void CompressedPass::enter(size_t layer, const Members& groups, const float*& x) {
  const Members* const former = layer == 0 ? nullptr : &members(static_cast<int64_t>(layer) - 1);
  const int64_t tokens = former == nullptr ? sequence_.tokens : static_cast<int64_t>(former->size());
  const bool merges = compression_.kind == CompressionKind::kTofu;
  x = reductions_[layer].forward(groups, merges, x, tokens, sizes_.width);
  Members made = former == nullptr ? groups : composed(*former, groups);
  if (tables_[layer].turns() && made == members_[layer]) return;
  members_[layer] = std::move(made);
  tables_[layer] = ids_.table(members_[layer]);
}

// Embeddings of one picture -> hidden [n + q, C].
void CompressedPass::forward(const CompressedInput& input, int64_t picture, float* hidden) {
  const int64_t step = sequence_.tokens * sizes_.width;
  const float* x = input.embeddings.const_data_ptr<float>() + picture * step;
  for (size_t l = 0; l < layers_.size(); ++l) {
    if (reduces_[l]) {
      enter(l, groups_before(static_cast<int64_t>(l), input, picture), x);
    } else if (l == 0 && members_[l].empty()) {
      members_[l] = each_alone(sequence_.tokens);
      tables_[l] = ids_.table(members_[l]);
    }
    const size_t made_at = made_at_[l];
    if (l + 1 == layers_.size()) {
      wanted_ = places(members_[made_at], true);
      const std::vector<int64_t> asked = places(members_[made_at], false);
      wanted_.insert(wanted_.end(), asked.begin(), asked.end());
      layers_[l].choose(wanted_);
    }
    x = layers_[l].forward(weights_[l], QuickAngles(tables_[made_at]), x);
  }
  last_ = x;
  norm_rows(x, decoder_.weights.norm.const_data_ptr<float>(), hidden, scale_.data(),
            static_cast<int64_t>(wanted_.size()), sizes_.width, sizes_.eps);
}

// dhidden [n + q, C] -> dx [T, C]; gradients are added.
void CompressedPass::backward(const float* dhidden, const std::vector<QuickGradients>& gradients,
                              float* dnorm, float* dx) {
  const auto wanted = static_cast<int64_t>(wanted_.size());
  std::fill_n(above_.begin(), wanted * sizes_.width, 0.0F);
  norm_rows_backward(dhidden, last_, decoder_.weights.norm.const_data_ptr<float>(), scale_.data(),
                     above_.data(), dnorm, wanted, sizes_.width);
  for (size_t l = layers_.size(); l-- > 0;) {
    layers_[l].backward(weights_[l], QuickAngles(tables_[made_at_[l]]), gradients[l], above_.data(),
                        below_.data());
    std::swap(above_, below_);
    if (!reduces_[l]) continue;
    reductions_[l].backward(above_.data(), below_.data());
    std::swap(above_, below_);
  }
  std::copy_n(above_.begin(), sequence_.tokens * sizes_.width, dx);
}

CompressedPass::Seen CompressedPass::hidden(const CompressedInput& given) {
  CompressedInput input = given;
  input.embeddings = given.embeddings.contiguous();
  input.features = given.features.contiguous();
  const auto wanted = static_cast<int64_t>(scale_.size());
  const int64_t pictures = input.embeddings.size(0);
  Seen seen = {at::empty({pictures, wanted, sizes_.width}), at::empty({pictures, high_left_}, at::kLong)};
  read_weights();
  auto* cells = seen.cells.mutable_data_ptr<int64_t>();
  for (int64_t picture = 0; picture < pictures; ++picture) {
    forward(input, picture, seen.hidden.mutable_data_ptr<float>() + picture * wanted * sizes_.width);
    for (int64_t i = 0; i < high_left_; ++i) {
      const int64_t token = wanted_[static_cast<size_t>(i)];
      *cells++ = cell_of_members(sequence_, members_[made_at_.back()][static_cast<size_t>(token)]);
    }
  }
  return seen;
}

CompressedPass::Gradients CompressedPass::gradients(const CompressedInput& given, const Targets& targets) {
  CompressedInput input = given;
  input.embeddings = given.embeddings.contiguous();
  input.features = given.features.contiguous();
  const at::Tensor answers = targets.answers.contiguous(), words_of_cells = targets.words.contiguous();
  const auto wanted = static_cast<int64_t>(scale_.size()), asked = wanted - high_left_;
  const int64_t pictures = input.embeddings.size(0), width = sizes_.width;
  const at::Tensor& head = decoder_.weights.lm_head;
  const int64_t words = head.size(0);
  const auto* const rows_of_head = head.const_data_ptr<float>();
  Numbers head_across(static_cast<size_t>(words * width)), hidden(static_cast<size_t>(wanted * width)),
      dhidden(hidden.size()), logits(static_cast<size_t>(wanted * words));
  const QuickSums sums(decoder_);
  Gradients result;
  result.embeddings = at::empty({pictures, sequence_.tokens, width});
  read_weights();
  transpose(rows_of_head, width, words, width, head_across.data(), words);
  std::vector<int64_t> target(static_cast<size_t>(wanted));
  for (int64_t picture = 0; picture < pictures; ++picture) {
    forward(input, picture, hidden.data());
    int64_t counted = 0;
    for (int64_t i = 0; i < wanted; ++i) {
      const auto place = static_cast<size_t>(i);
      if (i >= high_left_) {
        target[place] = answers.const_data_ptr<int64_t>()[picture * asked + i - high_left_];
        continue;
      }
      const auto& members = members_[made_at_.back()][static_cast<size_t>(wanted_[place])];
      const int64_t cell = cell_of_members(sequence_, members);
      target[place] =
          cell < 0 ? -1 : words_of_cells.const_data_ptr<int64_t>()[picture * words_of_cells.size(1) + cell];
      counted += cell < 0 ? 0 : 1;
    }
    multiply({hidden.data(), width, 1}, head_across.data(), words, logits.data(), words, wanted, words, width,
             false);
    for (int64_t i = 0; i < wanted; ++i) {
      float* const row = logits.data() + i * words;
      const bool is_answer = i >= high_left_;
      const double weight = is_answer
                                ? targets.answer_weight
                                : targets.cell_weight / static_cast<double>(std::max<int64_t>(counted, 1));
      if (target[static_cast<size_t>(i)] < 0 || weight == 0) {
        std::fill_n(row, words, 0.0F);
        continue;
      }
      const double part = weight * kernels::softmax_slope(row, words, target[static_cast<size_t>(i)],
                                                          static_cast<float>(weight));
      result.loss += part;
      if (is_answer) result.answers += part;
    }
    multiply({logits.data(), words, 1}, rows_of_head, width, dhidden.data(), width, wanted, width, words,
             false);
    multiply({logits.data(), 1, words}, hidden.data(), width, sums.head(), width, words, width, wanted, true);
    backward(dhidden.data(), sums.places(), sums.norm(),
             result.embeddings.mutable_data_ptr<float>() + picture * sequence_.tokens * width);
  }
  result.parameters = sums.list();
  return result;
}

CompressedPass::Loss CompressedPass::loss(const CompressedInput& input, const Targets& targets) {
  Gradients found;
  {
    const at::NoGradGuard no_grad;
    found = gradients(input, targets);
  }
  const double answers = found.answers;
  return {quick_loss(decoder_, input.embeddings, std::move(found)), answers};
}

}  // namespace ropescope::miniature
