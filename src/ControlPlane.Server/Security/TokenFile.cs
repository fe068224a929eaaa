using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

namespace ControlPlane.Server.Security;

/// <summary>What a token allows.</summary>
public enum TokenRole
{
    /// <summary>To see everything but secrets.</summary>
    Read,

    /// <summary>To see and to change; to testify, too.</summary>
    Write,

    /// <summary>To testify about the health of endpoints, and nothing else: it does not even see.</summary>
    Evidence,
}

/// <summary>One token as the server knows it.</summary>
/// <param name="Name">Who holds it: the author of what is written with it.</param>
/// <param name="Role">What it allows.</param>
/// <param name="Hash">SHA-256 of the token. A token is 256 random bits, so that a slow hash would protect nothing more.</param>
internal sealed record ApiToken(string Name, TokenRole Role, ImmutableArray<byte> Hash);

/// <summary>
/// The file that <c>--admin-token-file</c> names. One token per line: <c>NAME ROLE sha256:HEX</c>; blank lines and lines that begin with <c>#</c> are passed over.
/// It holds no token, only hashes.
/// </summary>
internal static class TokenFile
{
    private const string TokenPrefix = "cp_";
    private const string HashPrefix = "sha256:";

    /// <summary>The words of the roles, as they stand in messages.</summary>
    public const string Roles = "read|write|evidence";

    /// <summary>Whether a text may name a token.</summary>
    public static bool IsName(string text) =>
        text.Length is > 0 and < 64 && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    /// <summary>The role that a word means; null if it means none.</summary>
    public static TokenRole? ParseRole(string word) =>
        word switch
        {
            "read" => TokenRole.Read,
            "write" => TokenRole.Write,
            "evidence" => TokenRole.Evidence,
            _ => null,
        };

    /// <summary>Makes a token from 256 random bits.</summary>
    /// <returns>The token, to be shown once, and its line for the file.</returns>
    public static (string Token, string Line) Create(string name, TokenRole role)
    {
        var token = TokenPrefix + Base64UrlText(RandomNumberGenerator.GetBytes(32));
        return (token, $"{name} {RoleWord(role)} {HashPrefix}{Convert.ToHexStringLower(Hash(token))}");
    }

    /// <summary>SHA-256 of a token's text.</summary>
    public static byte[] Hash(string token) => SHA256.HashData(Encoding.UTF8.GetBytes(token));

    /// <summary>Reads a token file's text.</summary>
    /// <exception cref="FormatException">A line is wrong; the message names every such line and does not repeat it, in case a token itself was put there.</exception>
    public static ImmutableArray<ApiToken> Parse(string text)
    {
        var tokens = ImmutableArray.CreateBuilder<ApiToken>();
        var faults = new List<string>();
        var number = 0;
        foreach (var line in text.Split('\n').Select(l => l.Trim()))
        {
            number++;
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            var parts = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            if (parts.Length != 3 || !IsName(parts[0]) || ParseRole(parts[1]) is not { } role || ParseHash(parts[2]) is not { } hash)
            {
                faults.Add($"line {number} is not 'NAME {Roles} sha256:HEX', as 'token create NAME --role {Roles}' prints it");
            }
            else if (tokens.Any(t => t.Name == parts[0]))
            {
                faults.Add($"line {number} names '{parts[0]}' a second time");
            }
            else
            {
                tokens.Add(new ApiToken(parts[0], role, hash));
            }
        }

        if (tokens.Count == 0 && faults.Count == 0)
        {
            faults.Add("it holds no token; 'token create NAME --role write' makes one");
        }

        return faults.Count == 0 ? tokens.ToImmutable() : throw new FormatException(string.Join("; ", faults));
    }

    private static ImmutableArray<byte>? ParseHash(string text)
    {
        var hex = text.StartsWith(HashPrefix, StringComparison.Ordinal) ? text[HashPrefix.Length..] : "";
        return hex.Length == 64 && hex.All(char.IsAsciiHexDigit) ? [.. Convert.FromHexString(hex)] : null;
    }

    private static string RoleWord(TokenRole role) => role.ToString().ToLowerInvariant();

    private static string Base64UrlText(byte[] bytes) => System.Buffers.Text.Base64Url.EncodeToString(bytes);
}
