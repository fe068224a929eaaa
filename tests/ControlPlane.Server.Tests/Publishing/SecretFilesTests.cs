using System.Diagnostics;
using System.Text;
using ControlPlane.Resources;
using ControlPlane.Resources.Secrets;
using ControlPlane.Server.Publishing;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace ControlPlane.Server.Tests.Publishing;

public sealed class SecretFilesTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly ResourceKey Key = new(ResourceKind.Secret, "edge");

    private readonly DirectoryInfo _outside = Directory.CreateTempSubdirectory("controlplane-secrets-");
    private readonly string _folder;
    private readonly SecretFiles _files;

    public SecretFilesTests()
    {
        _folder = Path.Combine(_outside.FullName, "secrets");
        Directory.CreateDirectory(_folder);
        File.WriteAllText(Path.Combine(_outside.FullName, "shadow"), "not for everybody");
        _files = Create(TimeProvider.System);
    }

    public void Dispose()
    {
        _files.Dispose();
        _outside.Delete(recursive: true);
    }

    [Fact]
    public void A_file_is_read_by_its_path_from_the_folder()
    {
        Write("sub/key", "value");
        Assert.Equal("value", Value(new SecretSource { File = "sub/key" }));
        Assert.Equal("value", Value(new SecretSource { File = "./sub/../sub/key" }));
        Assert.Equal("value", Value(new SecretSource { File = Path.Combine(_folder, "sub", "key") }));
    }

    [Theory]
    [InlineData("../shadow")]
    [InlineData("sub/../../shadow")]
    [InlineData("/etc/passwd")]
    [InlineData("link-to-file")]
    [InlineData("link-to-folder/shadow")]
    [InlineData("link-up/../shadow")]
    [InlineData("full-link")]
    public void No_path_and_no_link_leads_out_of_the_folder(string path)
    {
        Write("sub/key", "value");
        Link("link-to-file", "../shadow");
        Link("link-to-folder", "..");
        Link("link-up", "sub/..");
        Link("full-link", Path.Combine(_outside.FullName, "shadow"));
        Assert.Equal("secret-file-outside", Problem(new SecretSource { File = path }));
    }

    [Fact]
    public void Links_inside_the_folder_are_followed()
    {
        Write("archive/one", "value");
        Link("relative", "archive/one");
        Link("full", Path.Combine(_folder, "archive", "one"));
        Link("folder", "archive");
        Assert.Equal("value", Value(new SecretSource { File = "relative" }));
        Assert.Equal("value", Value(new SecretSource { File = "full" }));
        Assert.Equal("value", Value(new SecretSource { File = "folder/one" }));
    }

    [Fact]
    public void What_is_no_file_has_a_name()
    {
        Link("a", "b");
        Link("b", "a");
        Link("dangling", "nothing");
        Write("empty", "");
        Write("large", new string('x', (1024 * 1024) + 1));
        Directory.CreateDirectory(Path.Combine(_folder, "sub"));
        Assert.Equal("secret-file-cyclic", Problem(new SecretSource { File = "a" }));
        Assert.Equal("secret-file-missing", Problem(new SecretSource { File = "dangling" }));
        Assert.Equal("secret-file-missing", Problem(new SecretSource { File = "nothing/at/all" }));
        Assert.Equal("secret-file-missing", Problem(new SecretSource { File = "empty/below-a-file" }));
        Assert.Equal("secret-file-empty", Problem(new SecretSource { File = "empty" }));
        Assert.Equal("secret-file-too-large", Problem(new SecretSource { File = "large" }));
        Assert.Equal("secret-file-is-folder", Problem(new SecretSource { File = "sub" }));
    }

    [Fact]
    public void Without_a_folder_no_file_is_read()
    {
        using var files = new SecretFiles(folder: null, "CONTROLPLANE_TEST_", TimeProvider.System, NullLogger<SecretFiles>.Instance);
        var material = files.Resolve(Generic(new SecretSource { File = "key" }));
        Assert.Equal("secret-file-refused", Assert.Single(material.Problems).Code);
    }

    [Fact]
    public void Only_variables_with_the_prefix_are_read()
    {
        Environment.SetEnvironmentVariable("CONTROLPLANE_TEST_KEY", "value");
        Environment.SetEnvironmentVariable("OTHER_TEST_KEY", "value");
        Assert.Equal("value", Value(new SecretSource { Env = "CONTROLPLANE_TEST_KEY" }));
        Assert.Equal("secret-variable-refused", Problem(new SecretSource { Env = "OTHER_TEST_KEY" }));
        Assert.Equal("secret-variable-missing", Problem(new SecretSource { Env = "CONTROLPLANE_TEST_ABSENT" }));
    }

    [Fact]
    public void A_problem_names_the_place_in_the_spec_and_nothing_of_the_server()
    {
        Link("link", Path.Combine(_outside.FullName, "shadow"));
        foreach (var file in (string[])["link", "nothing", "../x"])
        {
            var problem = Assert.Single(_files.Resolve(Generic(new SecretSource { File = file })).Problems);
            Assert.Equal("/spec/generic/file", problem.Pointer);
            Assert.DoesNotContain(_outside.FullName, problem.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void All_problems_of_a_secret_are_told_at_once()
    {
        var spec = new SecretSpec
        {
            Certificate = new CertificateSpec
            {
                Chain = new SecretSource { File = "chain" },
                PrivateKey = new SecretSource { File = "key" },
            },
        };
        Assert.Equal(
            ["/spec/certificate/chain/file", "/spec/certificate/privateKey/file"],
            _files.Resolve(spec).Problems.Select(p => p.Pointer)
        );
    }

    [Fact]
    public void A_rotation_is_reported_once_and_only_for_the_secret_whose_content_changed()
    {
        Write("one", "1");
        Write("two", "1");
        var other = new ResourceKey(ResourceKind.Secret, "other");
        _files.Watch(Key, Generic(new SecretSource { File = "one" }));
        _files.Watch(other, Generic(new SecretSource { File = "two" }));
        Assert.Equal([Key, other], Look());
        Assert.Empty(Look());

        Write("one.new", "2");
        File.Move(Path.Combine(_folder, "one.new"), Path.Combine(_folder, "one"), overwrite: true);
        File.SetLastWriteTimeUtc(Path.Combine(_folder, "two"), new DateTime(2030, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        Assert.Equal([Key], Look());
        Assert.Empty(Look());
    }

    [Fact]
    public void What_changed_before_anybody_listened_is_reported_to_the_first_who_does()
    {
        Write("one", "1");
        _files.Watch(Key, Generic(new SecretSource { File = "one" }));
        _files.Look();
        Write("one", "2");
        _files.Look();
        Assert.Equal([Key], Look());
        Assert.Empty(Look());
    }

    [Fact]
    public void The_swap_of_a_Kubernetes_volume_is_a_rotation()
    {
        Write("..2030_01/tls.crt", "old");
        Write("..2030_02/tls.crt", "new");
        Link("..data", "..2030_01");
        Link("tls.crt", "..data/tls.crt");
        _files.Watch(Key, Generic(new SecretSource { File = "tls.crt" }));
        Look();

        Link("..data_tmp", "..2030_02");
        ReplaceLink("..data_tmp", "..data");
        Assert.Equal([Key], Look());
        Assert.Equal("new", Value(new SecretSource { File = "tls.crt" }));
    }

    [Fact]
    public void A_file_that_disappears_and_comes_back_is_reported_each_time()
    {
        Write("one", "1");
        _files.Watch(Key, Generic(new SecretSource { File = "one" }));
        Look();
        File.Delete(Path.Combine(_folder, "one"));
        Assert.Equal([Key], Look());
        Write("one", "1");
        Assert.Equal([Key], Look());
    }

    [Fact]
    public void A_secret_that_is_gone_is_not_watched()
    {
        Write("one", "1");
        var spec = Generic(new SecretSource { File = "one" });
        _files.Watch(Key, spec);
        Look();
        _files.Watch(Key, Generic(new SecretSource { Inline = "now inline" }));
        Write("one", "2");
        Assert.Empty(Look());
        _files.Watch(Key, spec);
        _files.Unwatch(Key);
        Assert.Empty(Look());
    }

    [Fact]
    public async Task The_kernel_says_when_a_file_is_replaced()
    {
        Write("sub/one", "1");
        var reports = new Reports(_files);
        _files.Watch(Key, Generic(new SecretSource { File = "sub/one" }));
        await _files.StartAsync(CancellationToken.None);
        await reports.NextAsync();

        Write("sub/one.new", "2");
        File.Move(Path.Combine(_folder, "sub", "one.new"), Path.Combine(_folder, "sub", "one"), overwrite: true);
        Assert.Equal(Key, await reports.NextAsync());
        await _files.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task A_folder_that_appears_after_the_start_is_found_by_the_poll()
    {
        Directory.Delete(_folder);
        var time = new FakeTimeProvider();
        using var files = Create(time);
        var reports = new Reports(files);
        files.Watch(Key, Generic(new SecretSource { File = "one" }));
        await files.StartAsync(CancellationToken.None);
        await reports.NextAsync(time);

        Directory.CreateDirectory(_folder);
        Write("one", "1");
        Assert.Equal(Key, await reports.NextAsync(time));
        await files.StopAsync(CancellationToken.None);
    }

    private SecretFiles Create(TimeProvider time) => new(_folder, "CONTROLPLANE_TEST_", time, NullLogger<SecretFiles>.Instance);

    private static SecretSpec Generic(SecretSource source) => new() { Generic = source };

    private string Value(SecretSource source)
    {
        var material = _files.Resolve(Generic(source));
        Assert.Empty(material.Problems);
        return Encoding.UTF8.GetString(material[source].Span);
    }

    private string Problem(SecretSource source) => Assert.Single(_files.Resolve(Generic(source)).Problems).Code;

    private void Write(string path, string content)
    {
        var full = Path.Combine(_folder, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, content);
    }

    private void Link(string path, string target) => File.CreateSymbolicLink(Path.Combine(_folder, path), target);

    /// <summary>Renames a link to a folder over another, which no .NET method does and kubelet does.</summary>
    private void ReplaceLink(string from, string to)
    {
        using var move = Process.Start("mv", ["-T", Path.Combine(_folder, from), Path.Combine(_folder, to)]);
        move.WaitForExit();
        Assert.Equal(0, move.ExitCode);
    }

    private List<ResourceKey> Look()
    {
        List<ResourceKey> changed = [];
        void Add(ResourceKey key) => changed.Add(key);
        _files.Changed += Add;
        _files.Look();
        _files.Changed -= Add;
        return [.. changed.OrderBy(k => k.Name, StringComparer.Ordinal)];
    }

    /// <summary>What was reported, one after the other.</summary>
    private sealed class Reports
    {
        private readonly System.Threading.Channels.Channel<ResourceKey> _reports =
            System.Threading.Channels.Channel.CreateUnbounded<ResourceKey>();

        public Reports(SecretFiles files) => files.Changed += key => _reports.Writer.TryWrite(key);

        public Task<ResourceKey> NextAsync() => _reports.Reader.ReadAsync().AsTask().WaitAsync(Patience);

        /// <summary>Lets time pass until there is a report.</summary>
        public async Task<ResourceKey> NextAsync(FakeTimeProvider time)
        {
            var next = NextAsync();
            while (!next.IsCompleted)
            {
                time.Advance(SecretFiles.PollInterval);
                await Task.Yield();
            }
            return await next;
        }
    }
}
