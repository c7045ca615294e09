#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>

#include "cli/commands.h"
#include "core/format.h"
#include "data/tokenizer.h"
#include "generate/generator.h"
#include "train/loaded_model.h"

namespace mara::cli {
namespace {

constexpr int64_t kUsualTokens = 200;
constexpr std::streamsize kLongestText = 1 << 20;  // bytes of a prompt file

struct Arguments {
  std::string checkpoint;
  std::vector<std::string> prompts, prompt_files;
  std::optional<int64_t> max_tokens;
  generate::SamplerOptions sampler;
  std::string seed = "1";
  DeviceOptions machine;
};

struct Prompt {
  std::string name;  // for messages
  std::string text;
};

/// What prompts are written in: text, or the token ids of a synthetic task, which has no text.
class Language {
 public:
  Language(const train::Recipe& recipe, int64_t vocabulary)
      : tokenizer_(recipe.data ? data::make_tokenizer(recipe.data->tokenizer) : nullptr), vocabulary_(vocabulary) {}

  std::vector<int32_t> ids(const Prompt& prompt) const {
    std::vector<int32_t> out;
    if (tokenizer_ != nullptr) {
      tokenizer_->encode(prompt.text, out);
      return out;
    }
    std::istringstream words(prompt.text);
    for (std::string word; words >> word;) {
      int32_t id = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
      const bool whole = error == std::errc() && end == word.data() + word.size();
      MARA_CHECK(whole && id >= 0 && id < vocabulary_, prompt.name, ": token ids from 0 to ", vocabulary_ - 1,
                 " with spaces between them are required, this model was trained on a synthetic task; got '", word,
                 "'");
      out.push_back(id);
    }
    return out;
  }
  /// `first`: nothing was written before.
  std::string text(std::span<const int32_t> ids, bool first) const {
    if (tokenizer_ != nullptr) return tokenizer_->decode(ids);
    std::string out;
    for (const int32_t id : ids) {
      if (!first || !out.empty()) out += ' ';
      out += std::to_string(id);
    }
    return out;
  }
  std::optional<int32_t> stop() const {
    if (tokenizer_ == nullptr) return std::nullopt;
    return tokenizer_->separator();
  }

 private:
  std::unique_ptr<data::Tokenizer> tokenizer_;
  int64_t vocabulary_;
};

/// The standard output. A terminal acts on control characters, and a model may write any: there they are shown as
/// \xNN. Pipes and files get every byte as it is.
class Output {
 public:
  void write(const std::string& text) {
    if (!terminal_) return put(text);
    pending_ += text;  // a character may come in several tokens
    const size_t ready = pending_.size() - unfinished_utf8(pending_);
    put(printable(pending_.substr(0, ready), "\n\t"));
    pending_.erase(0, ready);
  }

 private:
  static void put(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
    throw Failure("generate: cannot write to the standard output");
  }

  bool terminal_ = isatty(STDOUT_FILENO) == 1;
  std::string pending_;
};

Prompt read_prompt(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(static_cast<size_t>(kLongestText + 1), '\0');
  in.read(text.data(), kLongestText + 1);
  MARA_CHECK(in.is_open() && !in.bad(), path, ": cannot be read; a file with a prompt is required");
  MARA_CHECK(in.gcount() <= kLongestText, path, ": a prompt of at most ", kLongestText, " bytes is required");
  text.resize(static_cast<size_t>(in.gcount()));
  return {path, text};
}

/// How many new tokens there will be for each prompt. Throws Error for more than the model can read.
int64_t new_tokens(const std::vector<std::vector<int32_t>>& ids, const std::vector<Prompt>& prompts,
                   std::optional<int64_t> wanted, int64_t length) {
  int64_t room = length;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto size = static_cast<int64_t>(ids[i].size());
    MARA_CHECK(size > 0, prompts[i].name, ": is empty, at least one token is required");
    MARA_CHECK(size <= length, prompts[i].name, ": has ", size, " tokens, this model reads at most ", length,
               "; shorten it");
    room = std::min(room, length - size + 1);  // nothing reads the last new token
  }
  MARA_CHECK(!wanted || *wanted <= room, "--max-tokens: at most ", room, " new tokens are possible after ",
             ids.size() == 1 ? "this prompt" : "the longest prompt", ", the model reads at most ", length, "; got ",
             wanted.value_or(0));
  return wanted.value_or(std::min(room, kUsualTokens));
}

/// CLI11 would take a number that is too large for the largest there is.
uint64_t parse_seed(const std::string& text) {
  uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  MARA_CHECK(error == std::errc() && end == text.data() + text.size(), "--seed: a whole number from 0 to ",
             std::numeric_limits<uint64_t>::max(), " is required, got '", text, "'");
  return seed;
}

int run(const Arguments& arguments) {
  const Device device = use(arguments.machine);
  generate::SamplerOptions sampling = arguments.sampler;
  sampling.seed = parse_seed(arguments.seed);
  const generate::Sampler sampler(sampling);
  std::vector<Prompt> prompts;
  for (const std::string& text : arguments.prompts) {
    prompts.push_back({detail::join({"--prompt number ", prompts.size() + 1}), text});
  }
  for (const std::string& path : arguments.prompt_files) prompts.push_back(read_prompt(path));
  MARA_CHECK(!prompts.empty(), "generate: a prompt is required; give --prompt TEXT or --prompt-file FILE");
  const train::LoadedModel loaded = train::load_model(arguments.checkpoint, device);
  const models::ModelSetup setup = loaded.recipe.model_setup();
  MARA_CHECK(setup.features == 0, loaded.path.string(),
             ": generating: this model reads real numbers, not tokens, and writes none; use a language_model");
  MARA_CHECK(loaded.model->longest() > 0, loaded.path.string(),
             ": generating: this kind of model cannot go on token by token; use a language_model");

  const Language language(loaded.recipe, setup.vocabulary);
  std::vector<std::vector<int32_t>> ids;
  for (const Prompt& prompt : prompts) ids.push_back(language.ids(prompt));
  const generate::GeneratorOptions options{
      .max_tokens = new_tokens(ids, prompts, arguments.max_tokens, loaded.model->longest()),
      .vocabulary = setup.vocabulary,
      .stop = language.stop()};

  Output output;
  const bool streams = ids.size() == 1;
  int64_t count = 0;
  const auto on_token = [&](size_t, int32_t token) {
    if (count++ == 0 && streams) output.write(language.text(ids[0], true));
    if (streams) output.write(language.text({&token, 1}, false));
  };
  const ErrorContext context(loaded.path.string());
  const auto start = std::chrono::steady_clock::now();
  const auto drawn = generate::generate(*loaded.model, device, ids, sampler, options, on_token);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (size_t i = 0; i < drawn.size() && !streams; ++i) {
    output.write((i > 0 ? "\n" : "") + ("--- prompt " + std::to_string(i + 1)) + "\n");
    output.write(language.text(ids[i], true) + language.text(drawn[i], false) + "\n");
  }
  if (streams) output.write("\n");
  std::fprintf(stderr, "%s: %s, step %s: %s tokens, %s tokens/s\n", loaded.path.c_str(),
               printable(loaded.recipe.run.name).c_str(), with_commas(loaded.step).c_str(), with_commas(count).c_str(),
               with_commas(std::llround(static_cast<double>(count) / seconds)).c_str());
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  const auto add_texts = [&](const char* name, std::vector<std::string>& texts, const char* help) {
    app.add_option(name, texts, help)->take_all()->allow_extra_args(false);
  };
  app.add_option("checkpoint", arguments->checkpoint, "Checkpoint, or run folder: its newest one")->required();
  add_texts("--prompt", arguments->prompts,
            "What to continue: text, or token ids of a synthetic task (repeatable: those of one length in one batch)");
  add_texts("--prompt-file", arguments->prompt_files, "A file that holds a prompt, every byte of it (repeatable)");
  app.add_option("--max-tokens", arguments->max_tokens,
                 "New tokens for each prompt; a text also ends where its document does (default: 200, or what the "
                 "trained length leaves)")
      ->check(CLI::PositiveNumber);
  app.add_option("--temperature", arguments->sampler.temperature, "Logits are divided by it; 0: the likeliest token")
      ->capture_default_str();
  app.add_option("--top-k", arguments->sampler.top_k, "Choose among the K likeliest tokens; 0: all")
      ->capture_default_str();
  app.add_option("--top-p", arguments->sampler.top_p, "Choose among the likeliest tokens of together this probability")
      ->capture_default_str();
  app.add_option("--seed", arguments->seed, "Same seed, same text")->capture_default_str();
  add_device_options(app, arguments->machine);
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kGenerate{"generate", "Continue prompts with a trained model", setup};

}  // namespace mara::cli
