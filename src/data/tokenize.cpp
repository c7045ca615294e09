#include "data/tokenize.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "data/document_file.h"
#include "data/shard.h"
#include "io/file.h"

namespace mara::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFewestDocuments = 20;

/// A folder that appears whole, or not at all.
class NewFolder {
 public:
  NewFolder(const fs::path& target, bool force)
      : target_((target / "").lexically_normal().parent_path()),
        temporary_(target_.string() + ".tmp-" + std::to_string(getpid())),
        force_(force) {
    MARA_CHECK(!target_.empty(), "tokenize: --out must name a folder to make");
    MARA_CHECK(force_ || !fs::exists(target_) || fs::is_empty(target_), "tokenize: ", target_.string(),
               " exists; choose another folder with --out, or give --force to move it aside");
    std::error_code code;
    fs::create_directories(temporary_, code);
    MARA_CHECK(!code, "tokenize: cannot make ", temporary_.string(), ": ", code.message(),
               "; choose another folder with --out");
  }
  ~NewFolder() {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }

  const fs::path& path() const { return temporary_; }
  /// Returns where what stood there before is now; empty for nothing.
  fs::path commit() {
    fs::path aside;
    std::error_code code;
    if (fs::exists(target_) && !fs::is_empty(target_)) {
      for (int number = 1; aside.empty() || fs::exists(aside); ++number) {
        aside = target_.string() + ".old-" + std::to_string(number);
      }
      fs::rename(target_, aside, code);
    }
    if (!code) fs::rename(temporary_, target_, code);
    if (code) throw Failure("tokenize: cannot make " + target_.string() + ": " + code.message());
    io::sync_folder(target_.parent_path());
    return aside;
  }

 private:
  fs::path target_, temporary_;
  bool force_;
};

std::string names(const std::vector<fs::path>& files) {
  constexpr size_t kLongest = 1000;
  std::string out;
  for (const fs::path& file : files) {
    if (out.size() > kLongest) return out + ", ...";
    out += (out.empty() ? "" : ", ") + file.filename().string();
  }
  return out;
}

class Tokenization {
 public:
  Tokenization(const TokenizeOptions& options, const fs::path& folder)
      : options_(options),
        tokenizer_(make_tokenizer(options.tokenizer)),
        train_(folder, "train", *tokenizer_, names(options.files), options.shard_tokens),
        valid_(folder, "valid", *tokenizer_, names(options.files), options.shard_tokens) {}

  void add(DocumentFile& file, const std::function<void(int64_t)>& progress) {
    const int64_t size = file.size();
    const int64_t tail = static_cast<int64_t>(static_cast<double>(size) * (1 - options_.valid_tail));
    while (const auto document = file.next()) {
      const auto [begin, end, hash] = *document;
      if (begin == end) continue;
      ++documents_;
      if (options_.valid_fraction > 0) {
        const bool held_out = static_cast<double>(hash >> 11) * 0x1p-53 < options_.valid_fraction;
        write(file, begin, end, held_out ? valid_ : train_, progress);
      } else {
        const int64_t cut = std::clamp(tail, begin, end);
        write(file, begin, cut, train_, progress);
        write(file, cut, end, valid_, progress);
      }
    }
    progress(size);
  }

  void finish(TokenizeReport& report) {
    MARA_CHECK(documents_ > 0, "tokenize: there is no text in ", names(options_.files));
    const std::string tail = "; to hold out the last part of every file instead, give --valid-tail";
    if (options_.valid_fraction > 0) {
      MARA_CHECK(documents_ >= kFewestDocuments, "tokenize: --valid-fraction needs at least ", kFewestDocuments,
                 " documents to choose from, got ", documents_, tail,
                 options_.document_separator.empty() ? ", or cut files into documents with --document-separator" : "");
      MARA_CHECK(valid_.documents() > 0 && train_.documents() > 0, "tokenize: of ", documents_,
                 " documents --valid-fraction ", options_.valid_fraction, " holds out ", valid_.documents(), tail);
    } else if (options_.valid_tail > 0) {
      MARA_CHECK(valid_.documents() > 0 && train_.documents() > 0, "tokenize: of ", bytes_, " bytes --valid-tail ",
                 options_.valid_tail, " leaves nothing for ", valid_.documents() == 0 ? "validation" : "training",
                 "; give more text or another part");
    }
    train_.finish();
    valid_.finish();
    report.train = {train_.documents(), train_.tokens(), train_.shards()};
    report.valid = {valid_.documents(), valid_.tokens(), valid_.shards()};
    report.bytes = bytes_;
  }

 private:
  void write(DocumentFile& file, int64_t begin, int64_t end, ShardWriter& to,
             const std::function<void(int64_t)>& progress) {
    while (begin < end) {
      const std::string_view text = file.piece(begin, end);
      ids_.clear();
      tokenizer_->encode(text, ids_);
      to.append(ids_);
      begin += static_cast<int64_t>(text.size());
      bytes_ += static_cast<int64_t>(text.size());
      progress(begin);
    }
    to.end_document();
  }

  const TokenizeOptions& options_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ShardWriter train_, valid_;
  std::vector<int32_t> ids_;
  int64_t documents_ = 0, bytes_ = 0;
};

}  // namespace

TokenizeReport tokenize(const TokenizeOptions& options,
                        const std::function<void(int64_t done, int64_t total)>& progress) {
  MARA_CHECK(options.valid_fraction == 0 || options.valid_tail == 0,
             "tokenize: give --valid-fraction or --valid-tail, not both");
  TokenizeReport report;
  std::vector<fs::path> files;
  std::set<fs::path> seen;
  int64_t total = 0, done = 0;
  for (const fs::path& path : options.files) {
    const int64_t size = io::File::open_to_read(path).size();
    // Twice the same text would count double, or stand on both sides of a split.
    const bool repeated = !seen.insert(fs::canonical(path)).second;
    (repeated ? report.repeated : size == 0 ? report.empty : files).push_back(path);
    if (!repeated) total += size;
  }
  NewFolder folder(options.out, options.force);
  Tokenization tokenization(options, folder.path());
  for (const fs::path& path : files) {
    DocumentFile file(path, options.document_separator);
    tokenization.add(file, [&](int64_t at) {
      if (progress) progress(done + at, total);
    });
    done += file.size();
  }
  tokenization.finish(report);
  report.moved_aside = folder.commit();
  return report;
}

}  // namespace mara::data
