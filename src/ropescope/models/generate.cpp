#include "ropescope/models/generate.h"

#include <algorithm>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// The text so far; each step appends one column.
struct Sequence {
  at::Tensor ids;           // [B, n]
  at::Tensor mask;          // [B, n] or undefined
  at::Tensor position_ids;  // float64 [axes, B or 1, n]; undefined with an encoding
  const SequenceEncoding* encoding = nullptr;
  at::Tensor embeds;  // [B, prompt, C] or undefined
  at::Tensor next_id =
      {};  // float64 [B or 1]: of the coming token on all axes; undefined: the last column + 1
  at::Tensor groups = {};  // [B, prompt] or undefined
  std::vector<AddedFeatures> added = {};
  int64_t prompt = 0;

  void append(const at::Tensor& next_B) {
    ids = at::cat({ids, next_B.unsqueeze(1)}, 1);
    if (mask.defined()) mask = at::cat({mask, at::ones({mask.size(0), 1}, mask.options())}, 1);
    if (encoding != nullptr) return;
    if (next_id.defined()) {
      const at::Tensor column = next_id.view({1, -1, 1}).expand({position_ids.size(0), -1, 1});
      position_ids = at::cat({position_ids, column}, 2);
      next_id = next_id.add(1);
      return;
    }
    const at::Tensor last = position_ids.narrow(2, position_ids.size(2) - 1, 1);
    position_ids = at::cat({position_ids, last.add(1)}, 2);
  }

  // Features of tokens `first` on of the rows left, for a pass over `tokens` of them.
  std::vector<AddedFeatures> added_from(int64_t first, int64_t tokens) const {
    std::vector<AddedFeatures> result;
    for (const AddedFeatures& entry : added) {
      const at::Tensor index = entry.token_index.to(at::kCPU);
      const at::Tensor row = index.floor_divide(prompt), place = index.remainder(prompt).sub(first);
      const at::Tensor here = place.ge(0).nonzero().squeeze(1);
      if (here.numel() == 0) continue;
      const at::Tensor moved = row.mul(tokens).add(place).index_select(0, here);
      result.push_back(
          {entry.layer, moved, entry.features.index_select(0, here.to(entry.features.device()))});
    }
    return result;
  }

  at::Tensor groups_from(int64_t first) const {
    if (!groups.defined() || first >= prompt) return {};
    const at::Tensor later = groups.narrow(1, first, prompt - first);
    return at::constant_pad_nd(later, {0, ids.size(1) - prompt}, -1);
  }

  // Those of the rows `rows`, in their new order.
  AddedFeatures of_rows(const AddedFeatures& entry, const at::Tensor& rows) const {
    const at::Tensor index = entry.token_index.to(at::kCPU);
    const at::Tensor row = index.floor_divide(prompt);
    std::vector<at::Tensor> kept, places;
    for (int64_t i = 0; i < rows.size(0); ++i) {
      const at::Tensor here = row.eq(rows[i]).nonzero().squeeze(1);
      kept.push_back(here);
      places.push_back(index.index_select(0, here).remainder(prompt).add(i * prompt));
    }
    const at::Tensor all = at::cat(kept);
    return {entry.layer, at::cat(places), entry.features.index_select(0, all.to(entry.features.device()))};
  }

  void keep_rows(const at::Tensor& rows) {
    const int64_t before = ids.size(0);
    ids = ids.index_select(0, rows);
    if (mask.defined()) mask = mask.index_select(0, rows);
    if (position_ids.defined() && position_ids.size(1) == before)
      position_ids = position_ids.index_select(1, rows);
    if (next_id.defined() && next_id.size(0) == before) next_id = next_id.index_select(0, rows);
    if (groups.defined()) groups = groups.index_select(0, rows);
    for (AddedFeatures& entry : added) entry = of_rows(entry, rows);
    if (embeds.defined()) embeds = embeds.index_select(0, rows.to(embeds.device()));
  }
};

Sequence make_sequence(const GenerateInput& input) {
  Sequence sequence{input.input_ids.to(at::kCPU), {}, {}, input.encoding, input.inputs_embeds};
  const int64_t batch = sequence.ids.size(0), tokens = sequence.ids.size(1);
  sequence.prompt = tokens;
  sequence.added = input.added;
  if (input.groups.defined()) {
    if (input.groups.sizes() != sequence.ids.sizes()) {
      throw InputError("generation: pictures of tokens: expected the shape of input_ids [{}, {}]", batch,
                       tokens);
    }
    sequence.groups = input.groups.to(at::kCPU, at::kLong);
    const int64_t first = input.prefix == nullptr ? 0 : input.prefix->length();
    if (first > 0 && first < tokens) {
      const at::Tensor before = sequence.groups.narrow(1, 0, first).unsqueeze(2);
      const at::Tensor behind = sequence.groups.narrow(1, first, tokens - first).unsqueeze(1);
      if (before.eq(behind).logical_and(behind.ge(0)).any().item<bool>()) {
        throw InputError(
            "generation: expected a prefix that ends outside of pictures, whose tokens see each other");
      }
    }
  }
  if (input.attention_mask.defined()) {
    sequence.mask = input.attention_mask.to(at::kCPU).ne(0).to(at::kLong);
    if (sequence.mask.sizes() != sequence.ids.sizes()) {
      throw InputError("attention mask: expected the shape of input_ids [{}, {}]", batch, tokens);
    }
    if (!sequence.mask.select(1, tokens - 1).ne(0).all().item<bool>()) {
      throw InputError("generation: expected padding on the left, found a row that ends in padding");
    }
  }
  if (input.encoding != nullptr) {
    if (input.encoding->positions().tokens() != tokens) {
      throw InputError("generation: the layout has {} tokens, the prompt {}",
                       input.encoding->positions().tokens(), tokens);
    }
    return sequence;
  }
  if (input.position_ids.defined()) {
    sequence.position_ids = input.position_ids.to(at::kCPU, at::kDouble);
    if (sequence.position_ids.size(0) > 1) {
      at::Tensor real = sequence.position_ids;
      if (sequence.mask.defined()) {  // padding has ids too, which count for nothing
        sequence.position_ids = real.expand({real.size(0), batch, tokens});
        real = at::where(sequence.mask.ne(0).unsqueeze(0), sequence.position_ids, -1.0);
      }
      sequence.next_id = real.amax({0, 2}).add(1);
    }
  } else {
    const at::Tensor mask = sequence.mask.defined() ? sequence.mask : at::ones({1, tokens}, at::kLong);
    sequence.position_ids = mask.cumsum(1).sub(1).clamp_min(0).to(at::kDouble).unsqueeze(0);
  }
  return sequence;
}

bool frequencies_will_change(const Decoder& decoder, const Sequence& sequence, int64_t new_tokens) {
  if (sequence.encoding != nullptr) {
    return sequence.encoding->frequencies_change_until(sequence.ids.size(1) + new_tokens);
  }
  const DecoderConfig& config = decoder.config;
  const double end = sequence.position_ids.max().item<double>() + 1 + static_cast<double>(new_tokens);
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    const RopeConfig* rope = config.rope_of(l);
    if (rope == nullptr) continue;
    const std::optional<int64_t> trained = length_of_change(*rope, config.max_position_embeddings);
    if (trained && end > static_cast<double>(*trained)) return true;
  }
  return false;
}

// The prompt's given embeddings and those of the tokens generated since.
at::Tensor embed_all(const Decoder& decoder, const Sequence& sequence) {
  const at::Tensor& table = decoder.weights.embed_tokens;
  const at::Tensor embeds = sequence.embeds.to(table.device(), table.scalar_type());
  const int64_t prompt = embeds.size(1), more = sequence.ids.size(1) - prompt;
  if (more == 0) return embeds;
  const at::Tensor fresh = sequence.ids.narrow(1, prompt, more).to(table.device());
  return at::cat({embeds, embed_tokens(decoder, fresh)}, 1);
}

// Logits [B, V] after the last token, of the whole text or of what the cache has not seen.
at::Tensor last_logits(const Decoder& decoder, const Sequence& sequence, KvCache* cache, const Taps& taps) {
  const int64_t past = cache == nullptr ? 0 : cache->length();
  const int64_t fresh = sequence.ids.size(1) - past;
  ForwardInput step;
  step.input_ids = sequence.ids.narrow(1, past, fresh);
  if (sequence.embeds.defined() && past < sequence.prompt) {  // (behind it, ids say as much)
    step.inputs_embeds = embed_all(decoder, sequence).narrow(1, past, fresh);
  }
  step.attention_mask = sequence.mask;
  step.groups = sequence.groups_from(past);
  step.added = sequence.added_from(past, fresh);
  // Without a cache, frequencies are those of the whole text; with one, they do not change (or it would not be kept).
  PassEncoding encoding = sequence.encoding != nullptr
                              ? sequence.encoding->pass(past, fresh)
                              : encoding_for(decoder.config, sequence.position_ids.narrow(2, past, fresh),
                                             sequence.position_ids.max().item<double>() + 1);
  step.encoding = &encoding;
  step.cache = cache;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kLast;
  options.final_hidden = false;
  return forward(decoder, step, options, taps).logits.select(1, 0);
}

// The next token of each row, on the host. `tokens`: how many there are so far.
at::Tensor choose_next(const at::Tensor& logits, const GenerateOptions& options, int64_t tokens) {
  const at::Tensor finite = at::isfinite(logits).all();
  at::Tensor next;
  // Greedily, what was found is read from a device once, with -1 for logits that are none: each read waits for it.
  const bool greedy = !options.choose;
  if (greedy) next = at::where(finite, at::argmax(logits, -1), -1).to(at::kCPU).contiguous();
  if (greedy ? next.lt(0).any().item<bool>() : !finite.item<bool>()) {
    throw NumericsError("generation: the logits after token {} are not finite; try --dtype float32", tokens);
  }
  return greedy ? next : options.choose(logits).to(at::kCPU, at::kLong).contiguous();
}

}  // namespace

Generation generate(const Decoder& decoder, const GenerateInput& input, const GenerateOptions& options) {
  const at::NoGradGuard no_grad;
  Sequence sequence = make_sequence(input);
  const int64_t batch = sequence.ids.size(0), prompt = sequence.ids.size(1);
  const bool keep_keys = !frequencies_will_change(decoder, sequence, options.max_new_tokens);
  const std::vector<int64_t>& ends = decoder.config.eos_token_ids;
  KvCache cache;
  if (input.prefix != nullptr) {
    if (!keep_keys) throw InputError("generation: keys of a prefix go stale under dynamic NTK");
    if (input.prefix->length() >= prompt) {
      throw InputError("generation: expected a prefix shorter than the prompt's {} tokens, found {}", prompt,
                       input.prefix->length());
    }
    // (without its buffers: they would be written to)
    cache = input.prefix->first(input.prefix->length());
  }
  Generation generation;
  generation.lengths.assign(static_cast<size_t>(batch), 0);
  std::vector<std::vector<int64_t>> said(static_cast<size_t>(batch));
  std::vector<int64_t> asked(static_cast<size_t>(batch));  // the rows of the coming pass
  std::iota(asked.begin(), asked.end(), 0);
  std::vector<bool> ended(static_cast<size_t>(batch), false);
  for (int64_t step = 0; step < options.max_new_tokens; ++step) {
    const bool tapped = step == 0 && input.prompt_taps != nullptr;
    const at::Tensor logits =
        last_logits(decoder, sequence, keep_keys ? &cache : nullptr, tapped ? *input.prompt_taps : Taps());
    const at::Tensor next = choose_next(logits, options, sequence.ids.size(1));
    auto* ids = next.mutable_data_ptr<int64_t>();
    std::vector<int64_t> open;  // places among the rows asked
    for (size_t place = 0; place < asked.size(); ++place) {
      const auto row = static_cast<size_t>(asked[place]);
      if (ended[row]) {
        ids[place] = said[row].back();
        continue;
      }
      said[row].push_back(ids[place]);
      ended[row] = !options.ignore_end && std::count(ends.begin(), ends.end(), ids[place]) > 0;
      if (!ended[row]) open.push_back(static_cast<int64_t>(place));
    }
    if (open.empty()) break;
    sequence.append(next);
    // Rows that have ended cost no further passes. (A chooser knows rows by their places.)
    if (options.choose || 4 * open.size() > 3 * asked.size()) continue;
    const at::Tensor rows = at::tensor(open, at::kLong);
    sequence.keep_rows(rows);
    cache.keep_rows(rows);
    std::vector<int64_t> left;
    for (const int64_t place : open) left.push_back(asked[static_cast<size_t>(place)]);
    asked = std::move(left);
  }
  size_t longest = 0;
  for (size_t row = 0; row < said.size(); ++row) {
    generation.lengths[row] = static_cast<int64_t>(said[row].size());
    longest = std::max(longest, said[row].size());
  }
  std::vector<int64_t> table;
  for (std::vector<int64_t>& row : said) {
    row.resize(longest, row.empty() ? 0 : row.back());
    table.insert(table.end(), row.begin(), row.end());
  }
  generation.ids = at::tensor(table, at::kLong).view({batch, static_cast<int64_t>(longest)});
  return generation;
}

}  // namespace ropescope
