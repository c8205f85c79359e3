// BERT's tokenizer for lower case: words and marks, then the longest known pieces of each word (Wu et al., 2016).

const MARK = /^[\p{P}$+<=>^`|~]$/u;
const CHINESE = /^[\u{3400}-\u{4dbf}\u{4e00}-\u{9fff}\u{f900}-\u{faff}\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]$/u;
const LONGEST_WORD = 100;

export class WordPiece {
  // The text of vocab.txt: a piece on each line.
  constructor(text) {
    this.numbers = new Map(text.split("\n").map((piece, number) => [piece.replace(/\r$/, ""), number]));
  }

  // The numbers of a sentence's pieces, those of its begin and end included, at most `limit`.
  encode(sentence, limit = 256) {
    const number = (piece) => this.numbers.get(piece);
    const pieces = words(sentence).flatMap((word) => this.pieces(word)).slice(0, limit - 2);
    return ["[CLS]", ...pieces, "[SEP]"].map(number);
  }

  pieces(word) {
    const letters = [...word];
    const found = [];
    for (let begin = 0, end; begin < letters.length; begin = end) {
      for (end = letters.length; end > begin; end--) {
        const piece = (begin ? "##" : "") + letters.slice(begin, end).join("");
        if (this.numbers.has(piece)) {
          found.push(piece);
          break;
        }
      }
      if (end === begin || letters.length > LONGEST_WORD) return ["[UNK]"];
    }
    return found;
  }
}

function words(sentence) {
  const clean = sentence.replace(/[\u0000\ufffd]|(?![\t\n\r])\p{C}/gu, "").toLowerCase().normalize("NFD").replace(/\p{Mn}/gu, "");
  const apart = [...clean].map((letter) => (MARK.test(letter) || CHINESE.test(letter) ? ` ${letter} ` : letter));
  return apart.join("").split(/\s+/u).filter(Boolean);
}
