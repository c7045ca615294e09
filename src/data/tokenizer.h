#pragma once
// Text to token ids and back.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mara::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string name() const = 0;
  /// Of all that decides which ids a text becomes: shards of another tokenizer are told apart by it.
  virtual uint64_t hash() const = 0;
  virtual int64_t vocabulary() const = 0;  // ids are in [0, vocabulary)
  virtual int32_t separator() const = 0;   // the id that ends a document, never part of a text
  /// Appends the ids of `text`.
  virtual void encode(std::string_view text, std::vector<int32_t>& ids) const = 0;
  /// The text of ids; separators have none. decode(encode(text)) == text.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  /// Bytes of a token's text, 0 for the separator: what bits per byte are counted with.
  virtual int64_t bytes(int32_t id) const = 0;
};

/// "bytes": ids 0 to 255 are the bytes of any text or file, 256 ends a document. Throws Error for other names.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);

/// The names make_tokenizer knows.
std::vector<std::string> tokenizer_names();

}  // namespace mara::data
