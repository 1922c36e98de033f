#include "ropescope/eval/answerer.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/image.h"

namespace ropescope::eval {

std::string with_image_marks(std::string text, size_t pictures) {
  if (pictures == 0 || text.find(kImageText) != std::string::npos) return text;
  std::string marks;
  for (size_t i = 0; i < pictures; ++i) marks += (i == 0 ? "" : " ") + std::string(kImageText);
  return marks + "\n" + text;
}

Answerer::Answerer(const Decoder& decoder, const Llava* llava, const Tokenizer& tokenizer,
                   AnswererOptions options)
    : decoder_(decoder), llava_(llava), tokenizer_(tokenizer), options_(std::move(options)) {
  if (options_.scheme) scheme_.emplace(*options_.scheme);
}

std::vector<int64_t> Answerer::encode(const Question& question) const {
  std::string text = with_image_marks(question.prompt, question.pictures.size());
  if (options_.chat != ChatTemplate::kPlain && options_.chat != ChatTemplate::kNone) {
    ChatOptions chat;
    chat.open = true;
    chat.system = options_.system;
    text = chat_prompt(options_.chat, {{true, text}}, chat);
  }
  return question.pictures.empty() ? tokenizer_.encode(text, EncodeOptions{})
                                   : encode_with_images(tokenizer_, text);
}

int64_t Answerer::count_tokens(const std::string& prompt) const {
  return static_cast<int64_t>(encode({0, prompt, {}, 0}).size());
}

std::vector<Answer> Answerer::answer(const std::vector<Question>& questions,
                                     const std::function<std::string(const std::string&)>& bytes_of) {
  try {
    return answer_together(questions, bytes_of);
  } catch (const std::exception& error) {
    if (questions.size() == 1) return {{"", 0, error.what()}};
  }
  std::vector<Answer> answers;
  for (const Question& question : questions) answers.push_back(answer({question}, bytes_of).front());
  return answers;
}

std::vector<Answer> Answerer::answer_together(
    const std::vector<Question>& questions, const std::function<std::string(const std::string&)>& bytes_of) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<int64_t>> prompts;
  for (const Question& question : questions) {
    prompts.push_back(encode(question));
    if (prompts.back().empty()) throw InputError("the prompt has no tokens");
  }
  const std::vector<std::string>& pictures = questions.front().pictures;
  if (pictures.empty()) return answer_text(prompts);
  look_at(pictures, bytes_of);
  return answer_on_pictures(prompts);
}

void Answerer::look_at(const std::vector<std::string>& pictures,
                       const std::function<std::string(const std::string&)>& bytes_of) {
  if (llava_ == nullptr) throw InputError("the model has no vision tower");
  if (pictures == picture_keys_) return;
  picture_keys_.clear();
  images_.clear();
  beginning_.reset();
  DecodeOptions decode;
  decode.alpha = AlphaRule::kDrop;  // as the harness converts pictures
  for (const std::string& key : pictures) {
    const std::string bytes = bytes_of(key);
    const DecodedImage image = decode_image(std::as_bytes(std::span(bytes)), "picture " + key, decode);
    PreprocessedImage prepared = preprocess_image(image.rgb_HW3, *options_.preprocess);
    images_.push_back({prepared.pixel_values, *prepared.geometry});
  }
  picture_keys_ = pictures;
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
    std::vector<int64_t> known;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t id = ids.const_data_ptr<int64_t>()[i];
      // Embeddings often have more rows than the tokenizer has tokens.
      if (id < tokenizer_.vocab_size() && std::count(ends.begin(), ends.end(), id) == 0) known.push_back(id);
    }
    answers.push_back({tokenizer_.decode(known, /*skip_special=*/true), length, ""});
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

std::vector<Answer> Answerer::answer_text(const std::vector<std::vector<int64_t>>& prompts) const {
  std::vector<Answer> answers(prompts.size());
  if (!scheme_) {
    size_t longest = 0;
    for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
    const auto rows = static_cast<int64_t>(prompts.size()), tokens = static_cast<int64_t>(longest);
    GenerateInput input;
    at::Tensor ids = at::zeros({rows, tokens}, at::kLong), mask = at::zeros({rows, tokens}, at::kLong);
    for (int64_t row = 0; row < rows; ++row) {
      const auto& prompt = prompts[static_cast<size_t>(row)];
      const auto length = static_cast<int64_t>(prompt.size());
      ids[row].narrow(0, tokens - length, length).copy_(at::tensor(prompt, at::kLong));
      mask[row].narrow(0, tokens - length, length).fill_(1);
    }
    input.input_ids = ids;
    if (!mask.ne(0).all().item<bool>()) input.attention_mask = mask;
    return generated(input, prompts.size());
  }
  // Under a scheme rows share one encoding, so only rows of one length go together.
  for (const auto& [length, rows] : rows_by_length(prompts)) {
    const SequenceEncoding encoding(*scheme_, text_layout(static_cast<int64_t>(length)),
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

/// Everything up to the last picture; the same for all questions on the pictures, unless one names its
/// pictures itself.
std::vector<int64_t> up_to_pictures(const std::vector<int64_t>& ids) {
  const auto last = std::find(ids.rbegin(), ids.rend(), kImageId);
  return {ids.begin(), last.base()};
}

KvCache keys_of(const Llava& llava, const ImagePrompt& prompt, const std::vector<LlavaImage>& images,
                const SequenceEncoding* encoding) {
  KvCache cache;
  ForwardInput pass;
  pass.input_ids = prompt.input_ids;
  pass.inputs_embeds = merge_embeddings(llava, prompt, images);
  pass.cache = &cache;
  const int64_t tokens = prompt.input_ids.size(1);
  RotaryTable rotary;
  PassEncoding rules;
  if (encoding != nullptr) {
    rules = encoding->pass(0, tokens);
    pass.encoding = &rules;
  } else {
    rotary = plain_rotary_table(llava.decoder.config, tokens);
    pass.rotary = &rotary;
  }
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  options.final_hidden = false;
  forward(llava.decoder, pass, options);
  return cache;
}

KvCache for_rows(const KvCache& one_row, int64_t rows) {
  KvCache cache;
  for (const at::Tensor& keys : one_row.keys) cache.keys.push_back(keys.expand({rows, -1, -1, -1}));
  for (const at::Tensor& values : one_row.values) cache.values.push_back(values.expand({rows, -1, -1, -1}));
  return cache;
}

}  // namespace

ImagePrompt Answerer::expanded(const std::vector<int64_t>& ids) const {
  std::vector<AnyresGeometry> geometries;
  for (const LlavaImage& image : images_) geometries.push_back(image.geometry);
  return expand_images(at::tensor(ids, at::kLong).unsqueeze(0), {}, geometries, llava_->config);
}

const KvCache& Answerer::keys_of_beginning(const std::vector<int64_t>& ids,
                                           const SequenceEncoding* encoding) {
  const ImagePrompt prompt = expanded(ids);
  at::Tensor coordinates;
  if (encoding != nullptr) {
    coordinates = encoding->positions().coordinates.narrow(1, 0, prompt.input_ids.size(1));
  }
  const bool known = beginning_ && beginning_->ids == ids &&
                     (encoding == nullptr || at::equal(beginning_->coordinates, coordinates));
  if (!known) {
    beginning_.reset();
    beginning_ = Beginning{ids, coordinates, keys_of(*llava_, prompt, images_, encoding)};
  }
  return beginning_->keys;
}

std::vector<Answer> Answerer::answer_on_pictures(const std::vector<std::vector<int64_t>>& prompts) {
  // Questions that share their beginning and their length are asked together.
  std::map<std::pair<std::vector<int64_t>, size_t>, std::vector<size_t>> groups;
  for (size_t row = 0; row < prompts.size(); ++row) {
    groups[{up_to_pictures(prompts[row]), prompts[row].size()}].push_back(row);
  }
  const bool keep_keys = decoder_.config.rope.type != RopeType::kDynamic;
  std::vector<Answer> answers(prompts.size());
  for (const auto& [key, rows] : groups) {
    std::vector<at::Tensor> ids, embeds;
    std::optional<SequenceEncoding> encoding;
    for (const size_t row : rows) {
      const ImagePrompt prompt = expanded(prompts[row]);
      if (scheme_ && !encoding) {
        encoding.emplace(*scheme_, prompt.layouts.front(), encoded_model(decoder_.config));
      }
      ids.push_back(prompt.input_ids);
      if (!keep_keys) embeds.push_back(merge_embeddings(*llava_, prompt, images_));
    }
    GenerateInput input;
    input.input_ids = at::cat(ids);
    if (encoding) input.encoding = &*encoding;
    KvCache shared;
    if (keep_keys) {
      shared = for_rows(keys_of_beginning(key.first, input.encoding), static_cast<int64_t>(rows.size()));
      input.prefix = &shared;
    } else {
      input.inputs_embeds = at::cat(embeds);
    }
    const auto group = generated(input, rows.size());
    for (size_t i = 0; i < rows.size(); ++i) answers[rows[i]] = group[i];
  }
  return answers;
}

}  // namespace ropescope::eval
