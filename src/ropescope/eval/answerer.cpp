#include "ropescope/eval/answerer.h"

#include <algorithm>
#include <map>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/eval/long_context.h"
#include "ropescope/eval/padded_rows.h"
#include "ropescope/text/generated_text.h"
#include "ropescope/vision/image.h"

namespace ropescope::eval {

std::string with_image_marks(std::string text, size_t pictures, size_t clips) {
  const bool named = text.find(kImageText) != std::string::npos || text.find(kVideoText) != std::string::npos;
  if (pictures + clips == 0 || named) return text;
  std::string marks;
  for (size_t i = 0; i < pictures + clips; ++i) {
    marks += (i == 0 ? "" : " ") + std::string(i < pictures ? kImageText : kVideoText);
  }
  return marks + "\n" + text;
}

std::vector<int64_t> question_ids(const Tokenizer& tokenizer, const AnswererOptions& options,
                                  const std::string& question, const std::vector<MediaPlan>& plans) {
  if (plans.empty()) return options.chat.ask(tokenizer, question, options.system).ids;
  const auto clips = static_cast<size_t>(std::count_if(
      plans.begin(), plans.end(), [](const MediaPlan& plan) { return plan.kind == MediaKind::kVideo; }));
  const std::string text = with_image_marks(question, plans.size() - clips, clips);
  return options.reader->ask(options.chat, tokenizer, text, options.system, options.image_token_id, plans)
      .ids;
}

Answerer::Answerer(const Decoder& decoder, const Vlm* vlm, const Tokenizer& tokenizer,
                   AnswererOptions options)
    : decoder_(decoder), vlm_(vlm), tokenizer_(tokenizer), options_(std::move(options)), prefix_(decoder) {}

std::vector<int64_t> Answerer::encode(const Question& question, const std::string& distractor) const {
  return question_ids(tokenizer_, options_, with_distractor(distractor, question.prompt), plans_);
}

std::vector<Answer> Answerer::answer(const std::vector<Question>& questions, const Manner& manner,
                                     const BytesOf& bytes_of) {
  try {
    return answer_together(questions, manner, bytes_of);
  } catch (const std::exception& error) {
    if (questions.size() == 1) return {{"", 0, error.what()}};
  }
  std::vector<Answer> answers;
  for (const Question& question : questions) answers.push_back(answer({question}, manner, bytes_of).front());
  return answers;
}

std::vector<Answer> Answerer::answer_together(const std::vector<Question>& questions, const Manner& manner,
                                              const BytesOf& bytes_of) {
  const at::NoGradGuard no_grad;
  look_at(questions.front(), bytes_of);
  std::vector<std::vector<int64_t>> prompts;
  for (const Question& question : questions) {
    prompts.push_back(encode(question, manner.distractor));
    if (prompts.back().empty()) throw InputError("the prompt has no tokens");
    const int64_t most = *std::max_element(prompts.back().begin(), prompts.back().end());
    if (most >= decoder_.config.vocab_size) {
      throw InputError(
          "token {} lies outside the model's vocabulary of {}; tokenizer and weights do not match", most,
          decoder_.config.vocab_size);
    }
  }
  if (images_.empty() && manner.distractor.empty()) return answer_text(prompts, manner);
  return answer_alike(prompts, manner);
}

void Answerer::look_at(const Question& question, const BytesOf& bytes_of) {
  const std::vector<std::string>& pictures = question.pictures;
  const bool sees = !pictures.empty() || !question.clips.empty();
  if (vlm_ == nullptr && sees) throw InputError("the model has no vision tower");
  if (pictures == picture_keys_ && question.clips == clips_) {
    if (!unreadable_.empty()) throw InputError("{}", unreadable_);
    return;
  }
  picture_keys_.clear();
  clips_.clear();
  unreadable_.clear();
  images_.clear();
  plans_.clear();
  seen_.reset();
  prefix_.forget();
  // (all of them or none: whoever fails leaves nothing half seen)
  try {
    images_ = media_of(question, bytes_of);
  } catch (const InputError& error) {
    unreadable_ = error.what();
  }
  for (const MediaItem& image : images_) plans_.push_back(image.plan);
  picture_keys_ = pictures;
  clips_ = question.clips;
  if (!unreadable_.empty()) throw InputError("{}", unreadable_);
}

std::vector<MediaItem> Answerer::media_of(const Question& question, const BytesOf& bytes_of) const {
  DecodeOptions decode;
  decode.alpha = AlphaRule::kDrop;  // as the harness converts pictures
  std::vector<at::Tensor> rgb;
  for (const std::string& key : question.pictures) {
    const std::string bytes = bytes_of(key);
    rgb.push_back(decode_image(std::as_bytes(std::span(bytes)), "picture " + key, decode).rgb_HW3);
  }
  std::vector<MediaItem> items;
  if (!rgb.empty()) items = options_.reader->images(rgb);
  for (const ClipPart& clip : question.clips) items.push_back(options_.read_clip(clip));
  return items;
}

std::vector<Answer> Answerer::generated(const GenerateInput& input, size_t rows) const {
  GenerateOptions options;
  options.max_new_tokens = options_.max_new_tokens;
  const Generation generation = generate(decoder_, input, options);
  const std::vector<int64_t>& ends = decoder_.config.eos_token_ids;
  std::vector<Answer> answers;
  for (size_t row = 0; row < rows; ++row) {
    const int64_t length = generation.lengths[row];
    const at::Tensor ids = generation.ids[static_cast<int64_t>(row)].contiguous();
    std::vector<int64_t> said;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t id = ids.const_data_ptr<int64_t>()[i];
      if (std::count(ends.begin(), ends.end(), id) == 0) said.push_back(id);
    }
    answers.push_back({decode_generated(tokenizer_, said, /*skip_special=*/true), length});
  }
  return answers;
}

namespace {

/// Rows of equal length, by length.
std::map<size_t, std::vector<size_t>> rows_by_length(const std::vector<std::vector<int64_t>>& prompts) {
  std::map<size_t, std::vector<size_t>> groups;
  for (size_t row = 0; row < prompts.size(); ++row) groups[prompts[row].size()].push_back(row);
  return groups;
}

at::Tensor stacked(const std::vector<std::vector<int64_t>>& prompts, const std::vector<size_t>& rows) {
  const auto tokens = static_cast<int64_t>(prompts[rows.front()].size());
  at::Tensor ids = at::zeros({static_cast<int64_t>(rows.size()), tokens}, at::kLong);
  for (size_t i = 0; i < rows.size(); ++i) {
    ids[static_cast<int64_t>(i)].copy_(at::tensor(prompts[rows[i]], at::kLong));
  }
  return ids;
}

Layout text_layout(int64_t tokens) {
  Layout layout;
  layout.segments.emplace_back();
  layout.segments.back().text = tokens;
  return layout;
}

}  // namespace

std::vector<Answer> Answerer::answer_text(const std::vector<std::vector<int64_t>>& prompts,
                                          const Manner& manner) const {
  std::vector<const std::vector<int64_t>*> ids;
  std::vector<at::Tensor> positions;
  for (const auto& prompt : prompts) {
    ids.push_back(&prompt);
    const auto tokens = static_cast<int64_t>(prompt.size());
    if (!manner.scheme) {
      positions.push_back(counted_positions(tokens));
      continue;
    }
    const SequenceEncoding encoding(*manner.scheme, text_layout(tokens), encoded_model(decoder_.config));
    if (const auto plain = plain_positions(encoding, decoder_.config)) positions.push_back(*plain);
  }
  if (positions.size() == prompts.size()) {
    const PaddedRows rows = pad_rows(ids, positions, 0);
    GenerateInput input;
    input.input_ids = rows.input_ids;
    input.attention_mask = rows.attention_mask;
    input.position_ids = rows.position_ids;
    return generated(input, prompts.size());
  }
  // Under such a scheme rows share one encoding, so only rows of one length go together.
  std::vector<Answer> answers(prompts.size());
  for (const auto& [length, rows] : rows_by_length(prompts)) {
    const SequenceEncoding encoding(*manner.scheme, text_layout(static_cast<int64_t>(length)),
                                    encoded_model(decoder_.config));
    GenerateInput input;
    input.input_ids = stacked(prompts, rows);
    input.encoding = &encoding;
    const auto group = generated(input, rows.size());
    for (size_t i = 0; i < rows.size(); ++i) answers[rows[i]] = group[i];
  }
  return answers;
}

namespace {

/// Keys of so many tokens lie in memory at once, unless a single row has more.
constexpr size_t kMostKeys = 16384;

/// What the rows have in common, less the last token of each.
int64_t common_tokens(const std::vector<std::vector<int64_t>>& rows) {
  const std::vector<int64_t>& one = rows.front();
  size_t common = one.size();
  for (const auto& row : rows) {
    common = std::min({common, row.size() - 1, one.size() - 1});
    common = static_cast<size_t>(
        std::mismatch(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(common), row.begin()).first -
        one.begin());
  }
  return static_cast<int64_t>(common);
}

/// Rows that go through the decoder together, the longest first: of one length, unless they can be padded.
std::vector<std::vector<size_t>> rows_together(const std::vector<std::vector<int64_t>>& ids, bool padded) {
  std::vector<std::vector<size_t>> groups;
  const auto by_length = rows_by_length(ids);
  for (auto rows = by_length.rbegin(); rows != by_length.rend(); ++rows) {
    bool open = padded && !groups.empty();
    for (const size_t row : rows->second) {
      const auto longest = open ? ids[groups.back().front()].size() : rows->first;
      if (!open || (groups.back().size() + 1) * longest > kMostKeys) groups.emplace_back();
      groups.back().push_back(row);
      open = true;
    }
  }
  return groups;
}

/// Adds up how the last token of each row of a pass attends to the visual keys.
class VisualShare {
 public:
  VisualShare(const std::vector<int64_t>& item_of, int64_t last_query, size_t rows) : sums_(rows) {
    std::vector<int64_t> visual;
    for (size_t i = 0; i < item_of.size(); ++i) {
      if (item_of[i] >= 0) visual.push_back(static_cast<int64_t>(i));
    }
    visual_tokens_ = static_cast<int64_t>(visual.size());
    const at::Tensor index = at::tensor(visual, at::kLong);
    taps_.attention = AttentionRows{{last_query}, [this, index](int64_t, const at::Tensor& rows_BHQS) {
                                      const at::Tensor share =
                                          rows_BHQS.select(2, 0)
                                              .index_select(2, index.to(rows_BHQS.device()))
                                              .sum(2, false, at::kDouble)
                                              .mean(1)
                                              .to(at::kCPU);
                                      for (size_t row = 0; row < sums_.size(); ++row) {
                                        sums_[row] += share[static_cast<int64_t>(row)].item<double>();
                                      }
                                      ++layers_;
                                    }};
  }
  VisualShare(const VisualShare&) = delete;
  VisualShare& operator=(const VisualShare&) = delete;

  const Taps& taps() const { return taps_; }
  VisualAttention of_row(size_t row, int64_t prompt_tokens) const {
    return {sums_[row] / static_cast<double>(layers_), visual_tokens_, prompt_tokens};
  }

 private:
  std::vector<double> sums_;
  int64_t layers_ = 0, visual_tokens_ = 0;
  Taps taps_;
};

}  // namespace

Answerer::Prompt Answerer::expanded(const std::vector<int64_t>& ids) const {
  if (images_.empty()) {
    const auto tokens = static_cast<int64_t>(ids.size());
    return {ids, text_layout(tokens), std::vector<int64_t>(ids.size(), MediaPrompt::kText), 0};
  }
  MediaPrompt prompt = place_media(at::tensor(ids, at::kLong).unsqueeze(0), {}, plans_,
                                   media_marks(vlm_->config), decoder_.config.vocab_size);
  const at::Tensor row = prompt.input_ids[0].contiguous();
  const auto* data = row.const_data_ptr<int64_t>();
  int64_t first = row.size(0);
  while (first > 0 && prompt.item_of[static_cast<size_t>(first - 1)] < 0) --first;
  return {{data, data + row.size(0)}, prompt.layouts.front(), std::move(prompt.item_of), first};
}

MediaEmbeddings Answerer::embeddings(const Prompt& prompt, int64_t tokens) {
  if (!seen_) seen_ = see(*vlm_, images_);
  MediaPrompt beginning;
  beginning.input_ids = at::tensor(prompt.ids, at::kLong).narrow(0, 0, tokens).unsqueeze(0);
  beginning.item_of.assign(prompt.item_of.begin(), prompt.item_of.begin() + tokens);
  return embed(*vlm_, beginning, *seen_);
}

std::vector<Answer> Answerer::answer_alike(const std::vector<std::vector<int64_t>>& prompts,
                                           const Manner& manner) {
  // (one beginning, unless questions name their pictures themselves)
  std::map<std::vector<int64_t>, std::vector<size_t>> by_beginning;
  std::vector<Prompt> rows;
  for (const auto& prompt : prompts) {
    rows.push_back(expanded(prompt));
    const Prompt& row = rows.back();
    by_beginning[{row.ids.begin(), row.ids.begin() + row.first}].push_back(rows.size() - 1);
  }
  std::vector<Answer> answers(prompts.size());
  for (const auto& [beginning, alike] : by_beginning) {
    std::vector<std::vector<int64_t>> ids;
    bool padded = positions_known(rows[alike.front()], manner);
    for (const size_t row : alike) {
      ids.push_back(rows[row].ids);
      padded = padded && rows[row].first < static_cast<int64_t>(ids.back().size());
    }
    const int64_t common = common_tokens(ids);
    for (const std::vector<size_t>& group : rows_together(ids, padded)) {
      std::vector<const Prompt*> together;
      for (const size_t row : group) together.push_back(&rows[alike[row]]);
      const std::vector<Answer> part = answer_rows(together, common, manner);
      for (size_t i = 0; i < part.size(); ++i) answers[alike[group[i]]] = part[i];
    }
  }
  return answers;
}

std::optional<Scheme> Answerer::scheme_of(const Manner& manner) const {
  if (manner.scheme || images_.empty() || !decoder_.config.rope_axes) return manner.scheme;
  return Scheme(decoder_.config.native_scheme());
}

std::optional<SequenceEncoding> Answerer::encoding_of(const Prompt& prompt, const Manner& manner) const {
  const std::optional<Scheme> scheme = scheme_of(manner);
  if (!scheme) return std::nullopt;
  return SequenceEncoding(*scheme, prompt.layout, encoded_model(decoder_.config));
}

bool Answerer::positions_known(const Prompt& prompt, const Manner& manner) const {
  if (depends_on_length(decoder_.config)) return false;
  const auto encoding = encoding_of(prompt, manner);
  return !encoding || plain_positions(*encoding, decoder_.config).has_value();
}

std::vector<Answer> Answerer::answer_rows(const std::vector<const Prompt*>& rows, int64_t common,
                                          const Manner& manner) {
  const Prompt& prompt = *rows.front();  // the longest
  const auto count = static_cast<int64_t>(rows.size()), tokens = static_cast<int64_t>(prompt.ids.size());
  const std::optional<SequenceEncoding> encoding = encoding_of(prompt, manner);
  std::vector<const std::vector<int64_t>*> ids;
  std::vector<at::Tensor> positions;
  for (const Prompt* row : rows) {
    ids.push_back(&row->ids);
    const auto own = encoding_of(*row, manner);
    const auto known = own ? plain_positions(*own, decoder_.config)
                           : std::optional(counted_positions(static_cast<int64_t>(row->ids.size())));
    positions.push_back(known.value_or(counted_positions(static_cast<int64_t>(row->ids.size()))));
  }
  const PaddedRows padded = pad_rows(ids, positions, common);
  for (const at::Tensor& own : positions) {
    if (!at::equal(own.narrow(1, 0, common), positions.front().narrow(1, 0, common))) {
      throw InternalError("questions: the same beginning lies elsewhere in another prompt");
    }
  }
  GenerateInput input;
  input.input_ids = padded.input_ids;
  if (padded.attention_mask.defined()) {
    input.attention_mask = padded.attention_mask;
    input.position_ids = padded.position_ids;
  } else if (encoding) {
    input.encoding = &*encoding;
  }
  KvCache shared;
  // A question that names its pictures itself may end with one; then nothing is left to ask behind it.
  const bool keep = !depends_on_length(decoder_.config) && prompt.first < tokens;
  if (keep) {
    const KeptPrefix::Request request{prompt.ids, prompt.first, std::max(common, prompt.first),
                                      encoding ? &*encoding : nullptr,
                                      [&] { return embeddings(prompt, prompt.first); }};
    if (request.common > 0) shared = prefix_.keys(request).expanded(count);
    if (shared.length() > 0) input.prefix = &shared;
  } else if (!images_.empty()) {
    std::vector<MediaEmbeddings> embeds;
    for (const Prompt* row : rows) embeds.push_back(embeddings(*row, tokens));
    in_rows(embeds).give(input);
  }
  std::optional<VisualShare> share;
  if (manner.visual_share && !images_.empty()) {
    share.emplace(prompt.item_of, tokens - 1 - shared.length(), rows.size());
    input.prompt_taps = &share->taps();
  }
  std::vector<Answer> answers = generated(input, rows.size());
  for (size_t row = 0; share && row < rows.size(); ++row) {
    answers[row].attention = share->of_row(row, static_cast<int64_t>(rows[row]->ids.size()));
  }
  return answers;
}

}  // namespace ropescope::eval
