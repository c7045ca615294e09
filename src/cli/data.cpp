#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"
#include "core/format.h"
#include "core/log.h"
#include "data/shard.h"
#include "data/tokenize.h"

namespace mara::cli {
namespace {

using Paths = std::vector<std::string>;

/// "a\n" as typed in a shell -> a and a newline.
std::string without_escapes(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char next = text[++i];
    const size_t known = std::string_view("nt\\").find(next);
    MARA_CHECK(known != std::string_view::npos, "--document-separator: after \\ one of n, t and \\ is required, got ",
               std::string(1, next));
    out += "\n\t\\"[known];
  }
  return out;
}

/// A renewed line with the part that is done, on terminals only.
class Bar {
 public:
  void show(int64_t done, int64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || (done < total && now - shown_ < std::chrono::milliseconds(100))) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - started_).count();
    const double part = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
    const int cells = static_cast<int>(part * kCells);
    const std::string bar = std::string(cells, '#') + std::string(kCells - cells, '.');
    std::printf("\r\033[K[%s] %3d %%  %s of %s  %s/s", bar.c_str(), static_cast<int>(100 * part),
                bytes_text(done).c_str(), bytes_text(total).c_str(),
                bytes_text(static_cast<int64_t>(static_cast<double>(done) / std::max(seconds, 1e-3))).c_str());
    std::fflush(stdout);
    open_ = true;
  }
  ~Bar() {
    if (open_) std::printf("\n");
  }

 private:
  static constexpr int kCells = 40;
  const bool terminal_ = isatty(STDOUT_FILENO) != 0;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point shown_;
  bool open_ = false;
};

int make_shards(const data::TokenizeOptions& options) {
  data::TokenizeReport report;
  {
    Bar bar;
    report = data::tokenize(options, [&](int64_t done, int64_t total) { bar.show(done, total); });
  }
  for (const std::filesystem::path& path : report.empty) log_warning(path.string() + " is empty");
  for (const std::filesystem::path& path : report.repeated) {
    log_warning(path.string() + " is left out: the same file was given before");
  }
  if (!report.moved_aside.empty()) log_info("moved the earlier folder to " + report.moved_aside.string());
  const auto show = [&](const char* split, const data::TokenizeReport::Split& s) {
    if (s.shards == 0) return;
    log_info(detail::join({split, ": ", with_commas(s.tokens), " tokens in ", with_commas(s.documents),
                           s.documents == 1 ? " document, " : " documents, ", (options.out / split).string(), "-*.h5, ",
                           s.shards, s.shards == 1 ? " shard" : " shards"}));
  };
  show("train", report.train);
  show("valid", report.valid);
  return 0;
}

int inspect(const Paths& paths) {
  for (const std::string& path : paths) {
    const data::ShardReader shard(path);
    const data::ShardInfo& info = shard.info();
    std::printf(
        "%s\n  tokens      %s of %lld bytes\n  documents   %s\n  tokenizer   %s, %s ids, hash %s\n"
        "  separator   %lld, after every document\n  source      %s\n",
        path.c_str(), with_commas(info.tokens).c_str(), static_cast<long long>(shard.bytes_per_token()),
        with_commas(static_cast<int64_t>(shard.documents().size()) - 1).c_str(), info.tokenizer.c_str(),
        with_commas(info.vocabulary).c_str(), info.tokenizer_xxh3.c_str(), static_cast<long long>(info.separator),
        info.source.c_str());
    std::vector<int32_t> first(static_cast<size_t>(std::min<int64_t>(12, info.tokens)));
    shard.read(0, first);
    std::printf("  begins with");
    for (const int32_t id : first) std::printf(" %d", id);
    std::printf("\n");
  }
  return 0;
}

/// Every file is looked at, whatever is wrong with those before it.
int verify(const Paths& paths) {
  size_t damaged = 0;
  for (const std::string& path : paths) {
    try {
      const data::ShardReader shard(path);
      shard.verify();
      log_info(path + ": " + with_commas(shard.tokens()) + " tokens, all intact");
    } catch (const Error& error) {
      std::fprintf(stderr, "error: %s\n", error.what());
      ++damaged;
    }
  }
  MARA_CHECK(damaged == 0, "verify: ", damaged, " of ", paths.size(), " files are not intact shards");
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  app.require_subcommand(1);
  struct Chosen {
    data::TokenizeOptions options;
    std::string separator;
    Paths shards;
    std::function<int()> run;
  };
  const auto chosen = std::make_shared<Chosen>();
  data::TokenizeOptions& options = chosen->options;

  CLI::App* const make = app.add_subcommand("tokenize", "Turn text files, or any files, into token shards");
  make->add_option("files", options.files, "Each is a document, unless --document-separator cuts it")->required();
  make->add_option("--tokenizer", options.tokenizer, "bytes: ids 0 to 255, 256 ends a document")->capture_default_str();
  make->add_option("--out", options.out, "Folder to make, for train-*.h5 and valid-*.h5")->required();
  make->add_option("--shard-tokens", options.shard_tokens, "Tokens per shard")
      ->check(CLI::Range(int64_t{1024}, int64_t{1} << 40))
      ->capture_default_str();
  CLI::Option* const fraction =
      make->add_option("--valid-fraction", options.valid_fraction,
                       "Hold out this part of the documents, chosen by a hash of their text; at least 20 are needed")
          ->check(CLI::Range(0.0, 0.99));
  make->add_option("--valid-tail", options.valid_tail, "Hold out the last part of every file")
      ->check(CLI::Range(0.0, 0.99))
      ->excludes(fraction);
  make->add_option("--document-separator", chosen->separator,
                   "Documents of a file are the pieces between these; \\n, \\t and \\\\ are understood");
  make->add_flag("--force", options.force, "Move an existing folder aside");
  make->final_callback([c = chosen.get()] {
    c->run = [c] {
      c->options.document_separator = without_escapes(c->separator);
      return make_shards(c->options);
    };
  });

  CLI::App* const show = app.add_subcommand("inspect", "Show what shards hold");
  show->add_option("shards", chosen->shards, "Files")->required();
  show->final_callback([c = chosen.get()] { c->run = [c] { return inspect(c->shards); }; });

  CLI::App* const check = app.add_subcommand("verify", "Check every token of shards against its checksum");
  check->add_option("shards", chosen->shards, "Files")->required();
  check->final_callback([c = chosen.get()] { c->run = [c] { return verify(c->shards); }; });
  return [chosen] { return chosen->run(); };
}

}  // namespace

const Command kData{"data", "Make token shards of text (tokenize), show them (inspect), check them (verify)", setup};

}  // namespace mara::cli
