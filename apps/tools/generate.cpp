// ropescope generate: an answer, token by token.
#include "ropescope/models/generate.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/sampling.h"
#include "ropescope/text/generated_text.h"

#include "command.h"
#include "inputs/chat_input.h"
#include "inputs/image_input.h"
#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"
#include "inputs/question.h"

namespace ropescope::app {

namespace generate {

namespace {

struct GenerateFlags {
  std::string model, prompt;
  int64_t max_new_tokens = 256;
  std::optional<double> temperature, top_p;
  ChatFlags chat;
  ImageFlags images;
  PositionFlags positions;

  void bind(Flags& flags) {
    flags.group("Prompt");
    flags.add("model", model, "checkpoint: a folder (Hugging Face or LLaVA form), or a .gguf file")
        .stands_for(opened_model)
        .required();
    flags
        .add(
            "prompt", prompt,
            "question; <image> stands for an image, <video> for a clip, and those that it does not name come in front")
        .required();
    chat.bind(flags);
    images.bind(flags);
    positions.bind(flags).alias("schemes");
    flags.group("Answer");
    flags.add("max-new-tokens", max_new_tokens, "longest answer, tokens").at_least(1);
    flags.add("temperature", temperature, "draw tokens with logits divided by this; default: greedy")
        .at_least(0);
    flags.add("top-p", top_p, "draw among the likeliest tokens that sum to this probability")
        .above(0)
        .at_most(1);
  }
};

/// Prints text as soon as its bytes are whole.
class Stream {
 public:
  Stream(const Tokenizer& tokenizer, const std::vector<int64_t>& ends, bool silent)
      : tokenizer_(tokenizer), ends_(ends), silent_(silent) {}

  void add(int64_t id) {
    if (std::count(ends_.begin(), ends_.end(), id) > 0) {
      ended_ = true;
      return;
    }
    ids_.push_back(id);
    show(/*last=*/false);
  }
  void finish() { show(/*last=*/true); }

  const std::vector<int64_t>& ids() const { return ids_; }
  const std::string& text() const { return text_; }
  bool ended() const { return ended_; }

 private:
  void show(bool last) {
    text_ = decode_generated(tokenizer_, ids_, /*skip_special=*/true);
    if (silent_) return;
    size_t whole = text_.size();
    // A character whose bytes come from several tokens decodes to U+FFFD until the last of them is there.
    constexpr std::string_view kBroken = "\xEF\xBF\xBD";
    while (!last && whole >= kBroken.size() &&
           text_.compare(whole - kBroken.size(), kBroken.size(), kBroken) == 0) {
      whole -= kBroken.size();
    }
    if (whole > shown_) {
      std::fwrite(text_.data() + shown_, 1, whole - shown_, stdout);
      std::fflush(stdout);
      shown_ = whole;
    }
    if (last) std::fputc('\n', stdout);
  }

  const Tokenizer& tokenizer_;
  std::vector<int64_t> ends_, ids_;
  std::string text_;
  size_t shown_ = 0;
  bool silent_, ended_ = false;
};

SamplingOptions sampling_options(const GenerateFlags& flags, uint64_t seed) {
  SamplingOptions sampling;
  sampling.seed = seed;
  if (flags.top_p) {
    sampling.top_p = *flags.top_p;
    sampling.temperature = 1;
  }
  if (flags.temperature) sampling.temperature = *flags.temperature;
  return sampling;
}

int run(const GenerateFlags& given, const Invocation& invocation) {
  GenerateFlags flags = given;
  const std::string& model = flags.model;
  const CommonSettings settings = settings_for_answers(invocation, model);
  default_to_own_scheme(flags.positions.scheme, model);
  TokenSampler sampler(sampling_options(flags, settings.seed));
  const ModelKind kind = model_kind(model);
  if (kind == ModelKind::kVisionTower) throw UsageError("--model: {} holds a vision tower alone", model);
  if (flags.images.given() && kind != ModelKind::kVlm) refuse_images(flags.images.first_given(), model);
  DecoderConfig config = read_decoder_config(model);
  override_ropes(config, flags.positions.rope);
  const auto tokenizer = load_tokenizer(model);
  const PromptTemplate chat = flags.chat.chosen(model, kind, config, *tokenizer);

  std::optional<VlmConfig> vlm;
  if (flags.images.given()) vlm = read_vlm_config(model);
  const Question question =
      read_question(flags.images, model, vlm, chat, *tokenizer, flags.prompt, flags.chat.system);
  if (question.ids.empty()) throw UsageError("--prompt: expected at least one token, found none");
  MediaPrompt prompt;
  prompt.input_ids = at::tensor(question.ids, at::kLong).unsqueeze(0);
  if (vlm) {
    prompt =
        place_media(prompt.input_ids, {}, plans_of(question.media), media_marks(*vlm), config.vocab_size);
  }

  const at::NoGradGuard no_grad;
  LoadedModel loaded(model, config, vlm, load_options(settings));
  std::vector<int64_t>& ends = loaded.decoder().config.eos_token_ids;
  add_end_of_answer(chat, *tokenizer, ends);
  GenerateInput input;
  input.input_ids = prompt.input_ids;
  if (vlm) embed(loaded.vlm(), prompt, see(loaded.vlm(), items_of(question.media))).give(input);
  std::optional<SequenceEncoding> encoding;
  if (flags.positions.scheme) {
    const int64_t length = prompt.input_ids.size(1);
    const Layout layout = vlm ? prompt.layouts.front() : parse_layout(fmt::format("text:{}", length));
    const Scheme scheme(*flags.positions.scheme);
    refuse_unplaced(question.media, scheme);
    encoding.emplace(scheme, layout, encoded_model(config));
    input.encoding = &*encoding;
  } else if (vlm) {
    input.position_ids = own_position_ids(config, prompt);
  }
  Stream stream(*tokenizer, ends, settings.json);
  GenerateOptions generate_options;
  generate_options.max_new_tokens = flags.max_new_tokens;
  generate_options.choose = [&](const at::Tensor& logits) {
    const at::Tensor next = sampler(logits);
    stream.add(next.item<int64_t>());
    return next;
  };
  ropescope::generate(loaded.decoder(), input, generate_options);
  stream.finish();
  if (settings.json) {
    const Json report = {{"template", chat.name()},
                         {"scheme", flags.positions.scheme ? Json(*flags.positions.scheme) : Json(nullptr)},
                         {"prompt", question.text},
                         {"clips", clips_of(question.media)},
                         {"input_ids", question.ids},
                         {"prompt_tokens", prompt.input_ids.size(1)},
                         {"ids", stream.ids()},
                         {"text", stream.text()},
                         {"ended", stream.ended()}};
    fmt::print("{}\n", report.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  return 0;
}

}  // namespace

}  // namespace generate

extern const Command kGenerate;
const Command kGenerate = make_command<generate::GenerateFlags>(
    "generate", "Answers a question, about images too, under any position encoding.",
    "ropescope generate --model llava-v1.6-vicuna-7b-hf --image photo.jpg --prompt \"What is shown here?\" --scheme id-align",
    kRunsModel | kStreams | kDraws | kJson, generate::run);

}  // namespace ropescope::app
