// ropescope modix: the step of visual tokens that MODIX measures from the embeddings of one prompt.
#include "ropescope/analysis/modix.h"

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"

#include "command.h"
#include "inputs/chat_input.h"
#include "inputs/image_input.h"
#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"
#include "inputs/question.h"

namespace ropescope::app {

namespace modix {

namespace {

struct ModixFlags {
  std::string model, prompt;
  double balance = 0.5;
  std::optional<std::string> output;
  ChatFlags chat;
  ImageFlags images;

  void bind(Flags& flags) {
    flags.group("Prompt");
    flags.add("model", model, "vision-language checkpoint: a folder").stands_for(opened_model).required();
    flags
        .add(
            "prompt", prompt,
            "question; <image> stands for an image, <video> for a clip, and those that it does not name come in front")
        .required();
    chat.bind(flags);
    images.bind(flags);
    flags.group("Step");
    flags
        .add("balance", balance,
             "weight of the spread inside a modality; 1 minus it is that of the meeting between the two")
        .at_least(0)
        .at_most(1);
    flags.add("output", output, "result file, for example modix.h5");
  }
};

/// Embeddings [n, C] of the text tokens and of the visual ones.
struct Modalities {
  at::Tensor text, visual;
};

Modalities split(const at::Tensor& embeddings, const MediaPrompt& prompt) {
  std::vector<int64_t> text, visual;
  for (size_t i = 0; i < prompt.item_of.size(); ++i) {
    if (prompt.item_of[i] == MediaPrompt::kPadding) continue;
    (prompt.item_of[i] == MediaPrompt::kText ? text : visual).push_back(static_cast<int64_t>(i));
  }
  const at::Tensor rows = embeddings.flatten(0, 1).cpu();
  return {rows.index_select(0, at::tensor(text, at::kLong)),
          rows.index_select(0, at::tensor(visual, at::kLong))};
}

/// What `generate`, `attention` and `evaluate` take.
std::string scheme_text(const ModixStep& step) { return fmt::format("v2pe:delta={:.6g}", step.delta); }

void write(ResultWriter& writer, const ModixStep& step) {
  const auto both = [&](const char* name, auto ModixSide::*field) {
    writer.write(std::string("/modix/") + name, at::tensor({step.text.*field, step.visual.*field}));
  };
  writer.write("/modix/modality", std::vector<std::string>{"text", "visual"});
  both("tokens", &ModixSide::tokens);
  both("spanned", &ModixSide::spanned);
  both("entropy", &ModixSide::entropy);
  both("interaction", &ModixSide::interaction);
  both("intra", &ModixSide::intra);
  both("inter", &ModixSide::inter);
  both("contribution", &ModixSide::contribution);
  writer.write("/modix/delta", at::tensor({step.delta}, at::kDouble));
  writer.attribute("/modix", "channels", step.channels);
  writer.attribute("/modix", "balance", step.balance);
  writer.attribute("/modix", "scheme", scheme_text(step));
  writer.attribute("/modix", "interval", std::string("none: numbers of one prompt"));
}

Json json_of(const ModixSide& side) {
  return {{"tokens", side.tokens},
          {"spanned", side.spanned},
          {"entropy", side.entropy},
          {"interaction", side.interaction},
          {"intra", side.intra},
          {"inter", side.inter},
          {"contribution", side.contribution}};
}

void print(const ModixFlags& flags, const ModixStep& step, bool json) {
  if (json) {
    Json report = {{"delta", step.delta},
                   {"scheme", scheme_text(step)},
                   {"channels", step.channels},
                   {"balance", step.balance},
                   {"text", json_of(step.text)},
                   {"visual", json_of(step.visual)},
                   {"turned_round", step.turned_round()}};
    if (flags.output) report["output"] = *flags.output;
    fmt::print("{}\n", report.dump());
    return;
  }
  fmt::print("{:<44}{:>14}{:>14}\n", "", "text", "visual");
  const auto line = [](const char* what, const std::string& text, const std::string& visual) {
    fmt::print("{:<44}{:>14}{:>14}\n", what, text, visual);
  };
  const auto numbers = [&](const char* what, double ModixSide::*field) {
    line(what, fmt::format("{:.4g}", step.text.*field), fmt::format("{:.4g}", step.visual.*field));
  };
  line("tokens", std::to_string(step.text.tokens), std::to_string(step.visual.tokens));
  line(fmt::format("directions above 1e-6, of {}", step.channels).c_str(), std::to_string(step.text.spanned),
       std::to_string(step.visual.spanned));
  numbers("entropy, nats", &ModixSide::entropy);
  numbers("mean greatest cosine with the other", &ModixSide::interaction);
  numbers("share inside (entropy)", &ModixSide::intra);
  numbers("share between (cosine)", &ModixSide::inter);
  numbers("contribution", &ModixSide::contribution);
  fmt::print("\nstep of a visual token {:.6g} (text steps by 1): --scheme {}\n", step.delta,
             scheme_text(step));
  if (flags.output) fmt::print("written to {}\n", *flags.output);
}

int run(const ModixFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const std::string& model = flags.model;
  if (!flags.images.given()) {
    throw UsageError(
        "expected pictures or clips (--image, --video or --pixels), whose step is to be measured, found "
        "none");
  }
  const ModelKind kind = model_kind(model);
  if (kind != ModelKind::kVlm) refuse_images(flags.images.first_given(), model);
  const DecoderConfig config = read_decoder_config(model);
  const auto tokenizer = load_tokenizer(model);
  const PromptTemplate chat = flags.chat.chosen(model, kind, config, *tokenizer);
  const VlmConfig vlm = read_vlm_config(model);
  const Question question =
      read_question(flags.images, model, vlm, chat, *tokenizer, flags.prompt, flags.chat.system);
  const MediaPrompt prompt = place_media(at::tensor(question.ids, at::kLong).unsqueeze(0), {},
                                         plans_of(question.media), media_marks(vlm), config.vocab_size);

  const at::NoGradGuard no_grad;
  const LoadedModel loaded(model, config, vlm, load_options(settings, /*with_lm_head=*/false));
  const at::Tensor embeddings =
      embed(loaded.vlm(), prompt, see(loaded.vlm(), items_of(question.media))).inputs_embeds;
  const auto [text, visual] = split(embeddings, prompt);
  const ModixStep step = modix_step(text, visual, flags.balance);
  if (step.turned_round()) {
    log_warning(
        "both entropies are below 0, so that the modality whose embeddings are spread less has the larger share: {} text "
        "and {} visual tokens span {} and {} of {} channels, and every other channel adds the same -6.9",
        step.text.tokens, step.visual.tokens, step.text.spanned, step.visual.spanned, step.channels);
  }
  if (flags.output) {
    Provenance provenance = invocation.provenance();
    loaded.add_inputs(provenance);
    flags.images.add_inputs(provenance);
    ResultWriter writer(*flags.output, provenance, settings.force);
    write(writer, step);
    writer.commit();
  }
  print(flags, step, settings.json);
  return 0;
}

}  // namespace

}  // namespace modix

extern const Command kModix;
const Command kModix = make_command<modix::ModixFlags>(
    "modix", "Measures the step of visual tokens from the embeddings of a prompt, as MODIX does.",
    "ropescope modix --model Qwen2-VL-2B-Instruct --image photo.jpg --prompt \"What is shown here?\" --output modix.h5",
    kRunsModel | kStreams | kWrites | kJson, modix::run);

}  // namespace ropescope::app
